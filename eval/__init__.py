"""Measures Rolewise, or any program that writes its answer record, on questions with known answers."""
