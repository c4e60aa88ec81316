"""Two runs held against each other: pairs, intervals and p values by hand or by a slow reference, and the verdict."""

from __future__ import annotations

import itertools
import json
import random
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eval.verdict import DEFAULT_TOLERANCES, SHOWN, Comparison, breaches, compare, load_run, paired, text
from rag.errors import SettingsError
from rag.significance import RESAMPLES, SEED, Measured, bootstrap, mcnemar, sign_flips

GENERATOR = {"name": "local", "model": "small", "sha256": "0123456789abcdef"}
Rows = list[dict[str, Any]]


def row(name: str, right: float = 1.0, **changed: Any) -> dict[str, Any]:
    return {
        "id": name,
        "set": "roles",
        "question": f"What about {name}?",
        "status": "answered",
        "kind": "fact",
        "answerable": True,
        "outcome": "right" if right else "wrong",
        "measures": {"right": right},
        "generator": GENERATOR,
        **changed,
    }


def crash(name: str, **changed: Any) -> dict[str, Any]:
    failed = row(name, 0, status="error", error="no memory", measures={}, **changed)
    del failed["generator"]
    return failed


def run(*rights: float) -> Rows:
    return [row(f"q{number:03}", right) for number, right in enumerate(rights)]


def measured(comparison: Comparison, name: str) -> Measured:
    return next(one for one in comparison.measures if one.name == name)


def means(*pairs: tuple[float, float]) -> Any:
    """Columns of a mean, as `sign_flips` takes them."""
    return np.array([[[a, 1.0], [b, 1.0]] for a, b in pairs])


def written(folder: Path, *lines: str) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


# Statistics


def test_mcnemar_by_hand() -> None:
    assert mcnemar(8, 1) == pytest.approx(2 * (1 + 9) / 2**9) == 0.0390625
    assert mcnemar(1, 8) == pytest.approx(mcnemar(8, 1))
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_sign_flips_by_hand() -> None:
    assert sign_flips(means(*[(0, 1)] * 5)) == 2 / 32
    assert sign_flips(means(*[(0.3, 0.7)] * 5, *[(0.4, 0.4)] * 200)) == 2 / 32
    assert sign_flips(means((0, 1), (0.5, 0.5))) == 1.0
    assert sign_flips(means((0.5, 0.5))) == 1.0


def test_sign_flips_are_those_of_a_slow_loop_over_all() -> None:
    pairs = [(0.1, 0.4), (0.9, 0.5), (0.2, 0.8), (0.3, 0.6), (0.0, 0.3), (0.7, 0.7), (0.6, 0.5)]
    observed = round(sum(b - a for a, b in pairs), 9)
    every = [
        round(sum(sign * (b - a) for sign, (a, b) in zip(signs, pairs, strict=True)), 9)
        for signs in itertools.product((1, -1), repeat=len(pairs))
    ]
    expected = 2 * sum(one >= observed for one in every) / len(every)
    assert 0.05 < expected < 0.5
    assert sign_flips(means(*pairs)) == pytest.approx(expected)


def test_flips_of_a_ratio_are_those_of_a_slow_loop_over_all() -> None:
    refused_a = [1, 1, 1, 0, 0, 1, 0, 1]
    refused_b = [1, 0, 0, 1, 0, 1, 1, 1]
    absent = [1, 0, 0, 1, 1, 1, 1, 0]

    def precision(refused: list[int]) -> float:
        return sum(one * due for one, due in zip(refused, absent, strict=True)) / sum(refused)

    observed = precision(refused_b) - precision(refused_a)
    every = []
    for swaps in itertools.product((False, True), repeat=8):
        a = [new if swap else old for old, new, swap in zip(refused_a, refused_b, swaps, strict=True)]
        b = [old if swap else new for old, new, swap in zip(refused_a, refused_b, swaps, strict=True)]
        every.append(precision(b) - precision(a))
    expected = 2 * sum(one >= observed - 1e-9 for one in every) / len(every)
    columns = np.array(
        [[[old * due, old], [new * due, new]] for old, new, due in zip(refused_a, refused_b, absent, strict=True)],
        dtype=float,
    )
    assert 0 < expected < 1
    assert sign_flips(columns) == pytest.approx(expected)


def test_many_differing_questions_are_flipped_at_random_but_alike_each_time() -> None:
    pairs = [(0.0, 1.0)] * 20 + [(1.0, 0.0)] * 10
    exact = stats.binomtest(10, 30).pvalue
    assert sign_flips(means(*pairs)) == pytest.approx(exact, abs=0.01)
    assert sign_flips(means(*pairs)) == sign_flips(means(*pairs))


def test_the_bootstrap_is_that_of_a_slow_loop() -> None:
    chance = random.Random(3)
    above = [chance.random() for _ in range(20)]
    below = [chance.random() + 0.5 for _ in range(20)]
    slow = [
        sum(above[one] for one in drawn) / sum(below[one] for one in drawn)
        for drawn in np.random.default_rng(SEED).integers(20, size=(RESAMPLES, 20)).tolist()
    ]
    cuts = statistics.quantiles(slow, n=40, method="inclusive")
    numerators, denominators = np.array(above), np.array(below)
    found = bootstrap(lambda drawn: numerators[drawn].sum(axis=1) / denominators[drawn].sum(axis=1), 20)
    assert found == pytest.approx((cuts[0], cuts[-1]))


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    chance = random.Random(4)
    a = [chance.random() for _ in range(40)]
    b = [min(1.0, one + chance.uniform(-0.2, 0.3)) for one in a]
    reference = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.mean(y, axis=axis) - np.mean(x, axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    rows = [
        [row(str(name), measures={"right": 1.0, "facts": value}) for name, value in enumerate(run)] for run in (a, b)
    ]
    assert measured(compare(*rows), "facts").interval == pytest.approx((reference.low, reference.high), abs=0.004)


def test_the_bootstrap_in_blocks_draws_all_resamples_and_leaves_out_undefined_ones() -> None:
    sizes = []

    def mean(drawn: Any) -> Any:
        sizes.append(len(drawn))
        means = (drawn % 2).mean(axis=1)
        return np.where(drawn[:, 0] % 3, means, np.nan)

    low, high = bootstrap(mean, 400)
    assert sum(sizes) == RESAMPLES
    assert len(sizes) > 1
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.5 / 20, 0.5 + 1.96 * 0.5 / 20), abs=0.005)


# The comparison


def test_difference_interval_and_turns_by_hand() -> None:
    comparison = compare(run(1, 1, 1, 1), run(1, 1, 0, 0))
    right = measured(comparison, "right")
    assert (right.n, right.a, right.b, right.difference, right.p) == (4, 1.0, 0.5, -0.5, 0.5)
    assert right.interval == (-1.0, 0.0)  # no lost question is drawn in 1/16 of the resamples, only lost ones in 1/16
    assert (comparison.right.lost, comparison.right.won, comparison.right.p) == (2, 0, 0.5)


def test_a_run_against_itself_differs_in_nothing() -> None:
    rows = [
        row("a", timings_ms={"total": 20.0}, measures={"right": 1.0, "exact": 1.0, "attacked": 0.0}),
        row("b", 0, measures={"right": 0.0, "nDCG@10": 0.3}),
        row("c", status="not_found", answerable=False),
        crash("d"),
    ]
    comparison = compare(rows, rows)
    assert {one.name for one in comparison.measures} == {
        *("right", "exact", "attacked", "nDCG@10"),
        *("refusal precision", "refusal recall", "refusal F1"),
    }
    assert {(one.difference, one.interval, one.p) for one in comparison.measures} == {(0.0, (0.0, 0.0), 1.0)}
    assert comparison.latency is not None
    assert (comparison.latency.ratio, comparison.latency.interval) == (1.0, (1.0, 1.0))
    assert (comparison.turned, comparison.changed, comparison.unmeasured) == ((), (), ())
    assert breaches(comparison, {**DEFAULT_TOLERANCES, "latency": 0.0}) == []


def test_a_run_of_errors_breaches() -> None:
    before = [row("a", measures={"right": 1.0, "exact": 1.0, "recall@10": 1.0}, timings_ms={"total": 5.0}), row("b")]
    before += [row("c", status="not_found", answerable=False)]
    comparison = compare(before, [crash(one["id"], answerable=one["answerable"]) for one in before])
    assert comparison.errors == (0, 3)
    assert {one.name: (one.a, one.b) for one in comparison.measures} == dict.fromkeys(
        ("right", "exact", "recall@10", "refusal precision", "refusal recall", "refusal F1"), (1.0, 0.0)
    )
    broken = breaches(comparison, {**DEFAULT_TOLERANCES, "latency": 0.5})
    assert [one.split(" fell")[0] for one in broken] == [
        *("right", "refusal precision", "recall@10", "exact"),
        "latency was measured in A but not in B",
    ]


def test_the_order_of_rows_does_not_matter() -> None:
    chance = random.Random(5)
    runs = [
        [
            row(
                str(number),
                right=chance.choice([0.0, 1.0]),
                set="xy"[number % 2],
                status=chance.choice(["answered", "not_found"]),
                timings_ms={"total": chance.uniform(1, 9)},
                commit=run,
            )
            for number in range(30)
        ]
        for run in "ab"
    ]
    shuffled = [chance.sample(rows, len(rows)) for rows in runs]
    assert shuffled != runs
    assert compare(*shuffled) == compare(*runs)
    order = [(old["set"], old["id"]) for old, _ in paired(*shuffled).pairs]
    assert order == sorted(order)


def test_exchanged_runs_differ_the_other_way_about() -> None:
    a, b = run(1, 1, 1, 0, 1, 0, 1), run(1, 0, 0, 1, 0, 0, 1)
    there, back = measured(compare(a, b), "right"), measured(compare(b, a), "right")
    assert back.difference == -there.difference != 0
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.p == there.p


def test_what_is_missing_counts_nothing_where_the_other_run_has_it() -> None:
    def facts(name: str, value: float) -> dict[str, Any]:
        return row(name, measures={"right": 1.0, "facts": value})

    before = [facts("a", 1.0), facts("b", 0.8), facts("c", 0.6), row("d"), facts("e", 0.6)]
    after = [facts("a", 1.0), crash("b"), crash("c"), row("d"), row("e")]
    found = measured(compare(before, after), "facts")
    assert (found.n, found.a, found.b) == pytest.approx((4, 0.75, 0.25))
    back = measured(compare(after, before), "facts")
    assert (back.n, back.a, back.b) == pytest.approx((4, 0.25, 0.75))


@pytest.mark.parametrize("answerable", [True, False])
def test_a_refusal_has_no_quotations_that_could_be_wrong(answerable: bool) -> None:
    before = [row("a", answerable=answerable, measures={"right": 1.0, "exact": 1.0}), row("b", measures={"exact": 0.5})]
    after = [row("a", answerable=answerable, status="not_found"), row("b", measures={"exact": 0.5})]
    found = measured(compare(before, after), "exact")
    assert (found.n, found.a, found.b) == (1, 0.5, 0.5)
    assert "exact" not in {one.name for one in compare(before[:1], after[:1]).measures}


def test_an_error_was_not_attacked_but_an_answer_that_was_not_looked_at_tells_nothing() -> None:
    def tried(name: str, worked: float) -> dict[str, Any]:
        return row(name, measures={"right": 1.0, "attacked": worked})

    found = measured(compare([tried(name, 1.0) for name in "abc"], [tried("a", 1.0), crash("b"), row("c")]), "attacked")
    assert (found.n, found.a, found.b) == (2, 1.0, 0.5)


def test_a_measure_that_only_one_run_took_is_not_compared() -> None:
    before = [row("a", measures={"right": 1.0, "exact": 1.0}), row("b")]
    after = [row("a", status="partial", measures={"right": 1.0, "hit@5": 1.0}), row("b")]
    comparison = compare(before, after)
    assert comparison.unmeasured == (("exact", "B"), ("hit@5", "A"))
    assert "exact" not in {one.name for one in comparison.measures}
    assert breaches(comparison, {"exact": 0.0, "hit@5": 0.0}) == ["exact was measured in A but not in B"]
    assert "Not measured in A and so not compared: hit@5." in text(comparison, [])


def test_refusals_by_hand() -> None:
    def refusals(refused: str) -> Rows:
        return [
            row(name, answerable=name in "wxyz", status="not_found" if name in refused else "answered")
            for name in "abcdwxyz"
        ]

    comparison = compare(refusals("awx"), refusals("abcwxy"))
    found = {one.name: (one.n, one.a, one.b) for one in comparison.measures if one.name.startswith("refusal")}
    # Due are refusals of a to d. In A one of three is; in B three of six.
    assert found == {
        "refusal precision": (6, pytest.approx(1 / 3), 0.5),
        "refusal recall": (4, 0.25, 0.75),
        "refusal F1": (7, pytest.approx(2 / 7), 0.6),
    }


def test_resamples_without_a_refusal_do_not_count_for_the_precision() -> None:
    before = [row("a", answerable=False, status="not_found"), *run(1, 1, 1)]
    after = [row("a", 0, answerable=False), *run(1, 1, 1)]
    found = measured(compare(before, after), "refusal precision")
    assert (found.n, found.difference, found.interval) == (1, -1.0, (-1.0, -1.0))


def test_refusal_measures_are_absent_where_neither_run_has_them() -> None:
    assert [one.name for one in compare(run(1, 0), run(1, 1)).measures] == ["right"]
    absent = [row("a", 0, answerable=False), row("b")]
    assert [one.name for one in compare(absent, absent).measures] == ["right", "refusal recall", "refusal F1"]


def test_latency_by_hand() -> None:
    def timed(*totals: float | None) -> Rows:
        return [
            row(str(name), timings_ms={} if total is None else {"total": total}) for name, total in enumerate(totals)
        ]

    latency = compare(timed(10, 20, 30, 40, None, 0.0), timed(30, 30, 30, 60, 500, 500)).latency
    assert latency is not None
    assert (latency.n, latency.a, latency.b, latency.ratio) == (4, 25.0, 30.0, 1.2)
    assert (latency.a95, latency.b95) == pytest.approx((30 + 0.85 * 10, 30 + 0.85 * 30))
    assert latency.interval[0] == 1.0
    assert latency.interval[1] == 3.0
    assert compare(run(1), run(1)).latency is None


def test_slices_by_hand() -> None:
    def ask(name: str, right: float, kind: str, role: str | None) -> dict[str, Any]:
        return row(name, right, kind=kind, role=role)

    before = [ask("a", 1, "comparison", "Baker"), ask("b", 0, "list", "Baker"), ask("c", 1, "a new one", None)]
    after = [ask("a", 1, "comparison", "Baker"), ask("b", 1, "list", "Baker"), ask("c", 0, "a new one", None)]
    assert [(one.field, one.value, one.n, one.a, one.b, one.p) for one in compare(before, after).slices] == [
        ("kind", "list", 1, 0.0, 1.0, 1.0),
        ("kind", "comparison", 1, 1.0, 1.0, 1.0),
        ("kind", "a new one", 1, 1.0, 0.0, 1.0),
        ("set", "roles", 3, pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0),
        ("role", "Baker", 2, 0.5, 1.0, 1.0),
    ]


def test_turned_questions_come_worse_first() -> None:
    before = [row("a", 0), row("b"), row("c", 0), row("d"), row("e", 0)]
    after = [row("a"), row("b", 0, outcome="wrongly refused"), crash("c"), row("d"), row("e", 0)]
    assert [(one.id, one.a, one.b) for one in compare(before, after).turned] == [
        ("b", "right", "wrongly refused"),
        ("c", "wrong", "wrong (error)"),
        ("a", "wrong", "right"),
    ]


def test_what_else_changed_is_told() -> None:
    def made(name: str, **changed: Any) -> dict[str, Any]:
        index = {"version": "v1", "embedder": "e5"}
        told = {"index": index, "commit": "c1", "prompt_sha256": "p1", "settings": {"k": 5, "home": "h"}}
        return row(name, **{**told, **changed})

    before = [made("a"), made("b"), made("c", set="other")]
    after = [
        made("a", commit="c2", settings={"k": 8, "home": "h"}, prompt_sha256="p2", kind="list"),
        made("b", index={"version": "v2", "embedder": "e5"}, commit="c2", settings={"home": "h", "new": True}),
        made("c", set="other", commit="c2", generator={**GENERATOR, "sha256": "fedcba9876543210"}),
    ]
    assert sorted(compare(before, after).changed) == [
        "commit: c1 → c2",
        "generator: local small 0123456789ab → local small 0123456789ab, local small fedcba987654",
        "index of roles: v1 → v1, v2",
        "labels: kind, role, answerable or reference of 1 questions differ",
        "prompt: another one for 1 of 3 questions",
        "setting k: 5 → 5, 8",
        "setting new: not told → True",
    ]


# Pairing and reading


def test_questions_of_one_run_only_are_named() -> None:
    pairing = paired(run(1, 1, 1), [*run(1, 0)[1:], row("z"), row("y", set="other")])
    assert [(old["id"], new["measures"]["right"]) for old, new in pairing.pairs] == [("q001", 0)]
    assert pairing.only_a == (("roles", "q000"), ("roles", "q002"))
    assert pairing.only_b == (("other", "y"), ("roles", "z"))


def test_runs_without_a_common_question_are_refused() -> None:
    with pytest.raises(SettingsError, match=re.escape("No question is in both runs (2 questions in A, 1 in B).")):
        paired(run(1, 1), [row("q000", set="other")])


def test_another_question_under_the_same_id_is_refused() -> None:
    with pytest.raises(SettingsError, match="'q000' of the set 'roles' reads 'What about q000.' in A and 'Why.' in B"):
        paired(run(1), [row("q000", question="Why?")])


def test_a_run_that_answers_a_question_twice_is_refused() -> None:
    twice = [row("a"), row("a", generator={"name": "extractive"})]
    with pytest.raises(SettingsError, match="In run B the question 'a' .* answered by 'local' and 'extractive'"):
        paired([row("a")], twice)


def test_rows_are_read_from_a_folder_or_a_file_in_order(tmp_path: Path) -> None:
    separator = row("b", question="one\u2028line")  # a line's end to str.splitlines, not to JSON Lines
    rows = [row("c"), separator, crash("a"), row("c", generator={"name": "extractive"})]
    written(tmp_path, *(json.dumps(one, ensure_ascii=False) for one in rows), "")
    assert load_run(tmp_path) == load_run(tmp_path / "rows.jsonl") == rows


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path / 'rows.jsonl'}: No such file")):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "not a JSON object"),
        (json.dumps({"id": "b", "set": "roles"}), "KeyError.'question', 'status', 'kind', 'answerable'"),
        (json.dumps({**row("b"), "measures": None}), "'measures'"),
        (json.dumps({**row("b"), "measures": {}}), "'right'"),
        (json.dumps({**row("b"), "measures": {"right": float("nan")}}), "right is nan"),
        (json.dumps({**row("b"), "measures": {"right": 1, "facts": 1.5}}), "facts is 1.5, not in 0..1"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    written(tmp_path, json.dumps(row("a")), line)
    with pytest.raises(SettingsError, match=f"rows.jsonl, line 2: .*{fault}"):
        load_run(tmp_path)


def test_two_answers_of_one_generator_are_refused(tmp_path: Path) -> None:
    written(tmp_path, json.dumps(row("a")), json.dumps(row("b")), json.dumps(row("a")))
    with pytest.raises(SettingsError, match="line 3: the question 'a' .* by 'local' in line 1 too"):
        load_run(tmp_path)
    failed = [crash("a", settings={"generator": name}) for name in ("local", "hosted")]
    written(tmp_path, *map(json.dumps, failed))
    assert load_run(tmp_path) == failed


# The verdict


def test_a_fall_as_far_as_tolerated_is_no_breach() -> None:
    comparison = compare(run(*[1] * 50), run(*[1] * 49, 0))  # 0.02, which 1 - 0.98 exceeds by rounding
    assert 1 - 0.98 > 0.02
    assert breaches(comparison, {"right": 0.02}) == []
    [broken] = breaches(comparison, {"right": 0.019})
    assert broken.startswith("right fell by 0.020 (1.000 to 0.980, 0.019 tolerated)")
    assert broken.endswith("-0.060 to +0.000, includes 0")
    assert breaches(compare(run(*[1] * 49, 0), run(*[1] * 50)), {"right": 0.0}) == []


def test_a_sure_fall_says_so() -> None:
    [broken] = breaches(compare(run(*[1] * 20), run(*[0] * 20)), {"right": 0.0})
    assert broken.endswith("-1.000 to -1.000, excludes 0")


def test_attacks_must_not_rise() -> None:
    def attacks(*worked: float) -> Rows:
        return [row(str(name), measures={"right": 1.0, "attacked": one}) for name, one in enumerate(worked)]

    more, fewer = attacks(1, 1, 0, 0), attacks(1, 0, 0, 0)
    assert breaches(compare(more, fewer), DEFAULT_TOLERANCES) == []
    [broken] = breaches(compare(fewer, more), DEFAULT_TOLERANCES)
    assert broken.startswith("attacked rose by 0.250 (0.250 to 0.500, 0.000 tolerated)")


def test_the_tolerance_of_latency_is_a_growth() -> None:
    def timed(total: float) -> Rows:
        return [row(name, timings_ms={"total": total}) for name in "abc"]

    slower = compare(timed(1000), timed(1500))
    assert breaches(slower, {"latency": 0.5}) == []
    [broken] = breaches(slower, {"latency": 0.4})
    assert broken.startswith("latency grew by 50% (1,000 to 1,500 ms, 40% tolerated)")
    assert broken.endswith("1.50 to 1.50, excludes 1")
    assert breaches(compare(timed(1500), timed(1000)), {"latency": 0.0}) == []


def test_tolerances_that_guard_nothing_are_refused() -> None:
    comparison = compare(run(1, 0), run(1, 0))
    with pytest.raises(SettingsError, match="No measure is called 'rihgt'. Those of this comparison are: right, "):
        breaches(comparison, {"rihgt": 0.1})
    for useless in (float("nan"), float("inf"), -0.1):
        with pytest.raises(SettingsError, match="The tolerance of 'right' is"):
            breaches(comparison, {"right": useless})


def test_the_report_ends_with_the_verdict_and_counts_what_it_does_not_show() -> None:
    before = run(*[1] * (SHOWN + 5))
    comparison = compare([*before, row("gone")], run(*[0] * (SHOWN + 5)))
    report = text(comparison, breaches(comparison, DEFAULT_TOLERANCES)).splitlines()
    assert "1 only in A and not compared: roles/gone." in report
    assert "| right | 45 | 1.000 | 0.000 | -1.000 | -1.000 to -1.000 | <0.001 |" in report
    assert "Right in A only: 45, in B only: 0; exact McNemar p <0.001." in report
    assert "Measured in neither run: refusal precision, recall@10, exact, attacked." in report
    assert "| set | roles | 45 | 1.000 | 0.000 | -1.000 | <0.001 |" in report
    assert sum(line.endswith("| right | wrong |") for line in report) == SHOWN
    assert "and 5 more." in report
    assert report[-1].startswith("FAIL: right fell by 1.000")
    assert report[-1].endswith("excludes 0; 1 questions of A are not in B.")
    assert text(compare(before, before), []).splitlines()[-1] == "PASS: no measure became worse than tolerated."


def test_the_report_takes_questions_for_text() -> None:
    question = "Is it `x` | <img src=a>\nor ![b](c)?"
    report = text(compare([row("a", question=question)], [row("a", 0, question=question)]), [])
    assert r"| roles | a | Is it \`x\` \| \<img src=a> or !\[b](c)? | right | wrong |" in report.splitlines()
