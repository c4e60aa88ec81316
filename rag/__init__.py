"""Rolewise: answers over documents in which every sentence carries a quotation from the source.

The files of this package are the stages of one pipeline; the README's file map names them in their order. Importing the
package loads none of them.
"""

__version__ = "0.1.0"
