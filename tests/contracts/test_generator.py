"""What every Generator promises, over all of them. The hosted one speaks to a real server on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import GeneratorType

import pytest

from rag.hosted import HostedGenerator
from rag.llama import LlamaGenerator
from rag.models import sha256_of
from rag.protocols import Generator
from rag.tokens import TiktokenTokenizer
from rag.types import Evidence, Message, Passage, Sentence
from tests.conftest import Endpoint

pytestmark = pytest.mark.models

SYSTEM = "You write short, plain texts. You use the notes that you are given and add nothing to them."
FACTS = ("A Baker earns 61,000 francs a year in Bern.", "A Baker earns 64,500 francs a year in Basel.")


def evidence() -> list[Evidence]:
    found = []
    for number, fact in enumerate(FACTS):
        passage = Passage("baker", "Baker", "Baker", ("Pay",), 100 * number, 100 * number + len(fact), fact)
        found.append(Evidence(passage, Sentence(passage.start, passage.end, fact), 0.9 - number / 100))
    return found


def prompt(question: str) -> list[Message]:
    notes = "\n".join(f"[{number}] {fact}" for number, fact in enumerate(FACTS, start=1))
    return [Message("system", SYSTEM), Message("user", f"Notes:\n{notes}\n\n{question}")]


def draft(generator: Generator, question: str, max_tokens: int = 40) -> str:
    return "".join(generator.stream(prompt(question), evidence(), max_tokens=max_tokens))


@pytest.fixture(scope="module")
def llama(smollm2: Path) -> LlamaGenerator:
    return LlamaGenerator(path=smollm2, model="smollm2-135m", sha256=sha256_of(smollm2), context_tokens=1024)


@pytest.fixture(scope="module")
def hosted(endpoint: Endpoint) -> Iterator[HostedGenerator]:
    generator = HostedGenerator(
        base_url=endpoint.url,
        api_key=endpoint.key,
        model="smollm2-135m",
        context_tokens=1024,
        tokenizer=TiktokenTokenizer(),
    )
    yield generator
    generator.close()


def extractive() -> Generator:
    from rag.extractive import ExtractiveGenerator

    return ExtractiveGenerator(TiktokenTokenizer())


# A new generator is added here, and in EXPECTED.
@pytest.fixture(params=["llama", "hosted", "extractive"])
def generator(request: pytest.FixtureRequest) -> Generator:
    if request.param == "extractive":
        return extractive()
    made: Generator = request.getfixturevalue(request.param)
    return made


EXPECTED = {
    "local": ("smollm2-135m", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    "hosted": ("smollm2-135m", None),
    "extractive": ("extractive", None),
}


def test_info_names_the_generator_and_the_model_file(generator: Generator) -> None:
    assert (generator.info.model, generator.info.sha256) == EXPECTED[generator.info.name]
    assert generator.context_tokens >= 1024


def test_a_draft_comes_in_pieces_of_text(generator: Generator) -> None:
    pieces = list(generator.stream(prompt("What does a Baker earn, by place?"), evidence(), max_tokens=40))
    assert len(pieces) >= 2
    assert all(isinstance(piece, str) and piece for piece in pieces)


def test_a_longer_draft_begins_with_the_shorter_one(generator: Generator) -> None:
    question = "Tell me all about the pay of a Baker."
    short, long = draft(generator, question, 8), draft(generator, question, 40)
    assert long.startswith(short)
    assert len(long) > len(short)


def test_a_draft_has_no_more_tokens_than_asked_for(generator: Generator) -> None:
    text = draft(generator, "Tell a long story about a Baker.", 20)
    # The extractive generator gives at least one whole sentence; cl100k counts hosted text a little differently.
    assert 0 < generator.count(text) <= 24


def test_the_same_question_gets_the_same_draft_again_and_after_others(generator: Generator) -> None:
    questions = ("What does a Baker earn?", "Where do Bakers earn most?", "Name two cities.")
    first: Sequence[str] = [draft(generator, question) for question in questions]
    assert [draft(generator, question) for question in questions] == first
    assert [draft(generator, questions[0]) for _ in range(2)] == [first[0], first[0]]


def test_streams_of_several_threads_equal_those_of_one(generator: Generator) -> None:
    questions = ("What does a Baker earn in Bern?", "And in Basel?", "Is Basel better paid?", "What is a Baker?")
    alone = [draft(generator, question) for question in questions]
    with ThreadPoolExecutor(len(questions)) as pool:
        assert list(pool.map(lambda question: draft(generator, question), questions)) == alone


def test_closing_early_stops_the_work_and_leaves_the_generator_fit(generator: Generator) -> None:
    began = time.monotonic()
    expected = draft(generator, "What does a Baker earn?")
    longest = 4 + 5 * (time.monotonic() - began)  # of 40 tokens; the 700 would take longer
    pieces = generator.stream(prompt("Tell a very long story about a Baker."), evidence(), max_tokens=700)
    assert isinstance(pieces, GeneratorType)
    next(pieces)
    started = time.monotonic()
    pieces.close()
    assert time.monotonic() - started < longest / 2
    next(generator.stream(prompt("Name two cities."), evidence(), max_tokens=40))
    assert time.monotonic() - started < longest
    assert draft(generator, "What does a Baker earn?") == expected


def test_an_error_of_the_reader_stops_the_work(generator: Generator) -> None:
    def read() -> None:
        for _ in generator.stream(prompt("Tell a very long story about a Baker."), evidence(), max_tokens=700):
            raise ZeroDivisionError

    began = time.monotonic()
    assert draft(generator, "What does a Baker earn?")
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        read()
    assert draft(generator, "Name two cities.", 10)
    assert time.monotonic() - started < 4 + 5 * (started - began)  # the 700 tokens would take longer


def test_count_grows_with_the_text(generator: Generator) -> None:
    text = "A Baker earns 61,000 francs a year in Bern — größer als 😀 表. "
    counts = [generator.count(text * times) for times in range(1, 5)]
    assert generator.count("") == 0
    assert counts == sorted(set(counts))
    assert generator.count(FACTS[0] + FACTS[1]) >= max(generator.count(fact) for fact in FACTS)
