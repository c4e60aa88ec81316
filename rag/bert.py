"""Embeds texts with a BERT encoder that OpenVINO runs straight from the model's own weights.

In comes the folder of a sentence-transformers model, out come the vectors that sentence-transformers would give,
without the seconds and the gigabyte that importing torch takes. The network is written down here once, after Devlin and
others, "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019; which models it covers `is_bert` tells.
Nothing is converted or kept on the disk, and nothing is ever fetched from here.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.errors import ModelError
from rag.mapped import Tensors
from rag.protocols import TokenVectors, Vectors
from rag.wordpieces import WordPieces, unit

if TYPE_CHECKING:
    from tokenizers import Encoding

BATCH_TOKENS = 1024
"""Word pieces of a batch, padding included: twice as many, or half, are up to a tenth slower on two cores."""
TRANSFORMER, POOLING, NORMALIZE = "Transformer", "Pooling", "Normalize"
_WEIGHTS = "model.safetensors"
_MEAN, _CLS = "pooling_mode_mean_tokens", "pooling_mode_cls_token"
_UNSEEN = 1e4
"""What lies so far below another in attention counts nothing."""


def is_bert(folder: Path) -> bool:
    """Whether the model in `folder` is a BERT encoder whose vector is the mean of its tokens', or the first of them."""
    try:
        config, modules, pooling = _read(folder, "config.json"), _read(folder, "modules.json"), _pooling(folder)
    except (OSError, ValueError, KeyError, StopIteration):
        return False
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    modes = {name for name, is_on in pooling.items() if name.startswith("pooling_mode_") and is_on is True}
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and kinds in ([TRANSFORMER, POOLING], [TRANSFORMER, POOLING, NORMALIZE])
        and modes in ({_MEAN}, {_CLS})
        and (folder / _WEIGHTS).is_file()
        and (folder / "tokenizer.json").is_file()
    )


class _Way(Enum):
    """A way to run the network, which is loaded for it on first use."""

    EXACT = auto()
    """In single precision, a text at a time as fast as can be: the same on every machine."""
    FAST = auto()
    """In bfloat16 where the processor computes in it: twice as fast, exact to three digits."""
    MANY = auto()
    """As FAST, and products in 8 bits where the processor has them, a batch on each core: three times as fast."""


class BertEmbedder(WordPieces):
    """Implements protocols.Embedder. The network is loaded when the first text is embedded; counting needs none of it.

    Several threads may embed at once. Questions are embedded in single precision; the words of sentences in bfloat16;
    passages, of which there are most, in 8 bits, whose scales are those of each row (cosine to the exact vector at
    least 0.995, and 97 of 100 nearest neighbours the same).
    """

    def __init__(self, folder: Path, *, name: str, sha256: str) -> None:
        super().__init__(folder)
        self.name = name
        self.sha256 = sha256
        self._compiled: dict[_Way, Any] = {}
        self._queues = threading.local()
        self._loading = threading.Lock()

    @functools.cached_property
    def dimension(self) -> int:
        return int(_read(self.folder, "config.json")["hidden_size"])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, _Way.MANY)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, _Way.EXACT)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        encodings = self.cut(texts)
        found: dict[int, TokenVectors] = {}

        def keep(rows: Sequence[int], tokens: Vectors, meanings: Vectors) -> None:
            for row, of_text, meaning in zip(rows, tokens, meanings, strict=True):
                kept, spans = self.words_of(encodings[row])
                found[row] = TokenVectors(meaning.copy(), unit(of_text[kept]), spans)

        self._run(encodings, _Way.FAST, keep)
        return [found[row] for row in range(len(texts))]

    def _embed(self, texts: Sequence[str], way: _Way) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)

        def keep(rows: Sequence[int], _: Vectors, meanings: Vectors) -> None:
            vectors[rows] = meanings

        self._run(self.cut(texts, with_places=False), way, keep)
        return vectors

    def _run(
        self, encodings: Sequence[Encoding], way: _Way, keep: Callable[[Sequence[int], Vectors, Vectors], None]
    ) -> None:
        """Calls `keep` with rows, their (n, longest, dimension) tokens and their (n, dimension) texts, batch by batch.

        What it is given is valid during the call only.
        """
        queue = self._queue(way)
        queue.set_callback(lambda done, rows: keep(rows, *(done.get_output_tensor(one).data for one in (0, 1))))
        for rows in _batches([len(one.ids) for one in encodings]):
            longest = len(encodings[rows[0]].ids)
            ids = np.zeros((len(rows), longest), dtype=np.int32)
            is_text = np.zeros((len(rows), longest), dtype=np.float32)
            for line, row in enumerate(rows):
                own = encodings[row].ids
                ids[line, : len(own)], is_text[line, : len(own)] = own, 1.0
            queue.start_async([ids, is_text], rows)
        queue.wait_all()

    def _queue(self, way: _Way) -> Any:
        """What runs the network, one for each thread."""
        made: dict[str, Any] = self._queues.__dict__
        if way.name not in made:
            import openvino

            made[way.name] = openvino.AsyncInferQueue(self._network(way))
        return made[way.name]

    def _network(self, way: _Way) -> Any:
        import openvino

        with self._loading:
            if way not in self._compiled:
                core = openvino.Core()
                able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
                hints = {
                    "INFERENCE_PRECISION_HINT": "bf16" if way is not _Way.EXACT and "BF16" in able else "f32",
                    "PERFORMANCE_HINT": "THROUGHPUT" if way is _Way.MANY else "LATENCY",
                    "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(self.dimension),  # a scale for each token's numbers
                }
                weights, network = self._written(in_8_bits=way is _Way.MANY and "INT8" in able)
                self._compiled[way] = core.compile_model(network, "CPU", hints)
                weights.let_go()  # it has its own of most
            return self._compiled[way]

    def _written(self, *, in_8_bits: bool) -> tuple[Tensors, Any]:
        try:
            weights = Tensors(self.folder / _WEIGHTS)
            return weights, _network(self.folder, weights, in_8_bits=in_8_bits)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"the embedder in {self.folder} cannot be loaded ({' '.join(str(error).split())}). "
                f"Remove that folder and pull it again: python -m rag models pull {self.name}"
            ) from error


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows, longest first, in batches of at most BATCH_TOKENS with their padding."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _network(folder: Path, raw: Mapping[str, Any], *, in_8_bits: bool) -> Any:
    """The network as OpenVINO's graph: (n, t) `ids` and `is_text` in, (n, t, d) tokens and (n, d) unit rows out.

    In 8 bits it keeps the weights of its layers so, and what is multiplied with them is rounded as it comes.
    """
    import openvino
    from openvino import opset13 as op

    config = _read(folder, "config.json")
    weights = {name.removeprefix("bert."): value.astype(np.float32, copy=False) for name, value in raw.items()}
    heads, size = int(config["num_attention_heads"]), int(config["hidden_size"])

    def whole(*numbers: int) -> Any:
        return op.constant(np.array(numbers, dtype=np.int64))

    def weight(name: str) -> Any:
        return op.constant(weights[name], shared_memory=True)

    def dense(x: Any, name: str) -> Any:
        rows = rounded(weights[f"{name}.weight"]) if in_8_bits else weight(f"{name}.weight")
        return op.add(op.matmul(x, rows, False, True), weight(f"{name}.bias"))

    def rounded(rows: Vectors) -> Any:
        """(n, m) weights as whole numbers up to 127, and a scale for each row."""
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / 127
        numbers = op.convert(op.constant(np.round(rows / scale).astype(np.int8)), np.float32)
        return op.multiply(numbers, op.constant(scale))

    def normalized(x: Any, name: str) -> Any:
        centred = op.mvn(x, whole(-1), True, float(config["layer_norm_eps"]), "inside_sqrt")
        return op.add(op.multiply(centred, weight(f"{name}.weight")), weight(f"{name}.bias"))

    def apart(x: Any) -> Any:
        """(n, t, d) to (n, heads, t, d / heads)"""
        return op.transpose(op.reshape(x, whole(0, 0, heads, size // heads), True), whole(0, 2, 1, 3))

    def attended(query: Any, key: Any, value: Any) -> Any:
        """The values of each text's tokens, weighed by how near a token's query is to their keys."""
        near = op.matmul(op.multiply(query, np.float32((size // heads) ** -0.5)), key, False, True)
        shares = op.softmax(op.add(near, padding), 3)
        # The idle reshape keeps OpenVINO from one fused kernel for all of this, which takes a quarter longer.
        return op.matmul(op.reshape(shares, whole(0, 0, 0, -1), True), value, False, False)

    def together(x: Any) -> Any:
        return op.reshape(op.transpose(x, whole(0, 2, 1, 3)), whole(0, 0, size), True)

    ids = op.parameter([-1, -1], np.int32, "ids")
    is_text = op.parameter([-1, -1], np.float32, "is_text")
    first, rows = op.constant(np.int64(0)), op.constant(np.int64(1))
    length = op.gather(op.shape_of(ids), whole(1), first)
    words = op.gather(weight("embeddings.word_embeddings.weight"), ids, first)
    places = op.slice(weight("embeddings.position_embeddings.weight"), whole(0), length, whole(1), whole(0))
    kind = op.constant(weights["embeddings.token_type_embeddings.weight"][0])
    x = normalized(op.add(op.add(words, places), kind), "embeddings.LayerNorm")
    padding = op.multiply(op.subtract(op.unsqueeze(is_text, whole(1, 2)), np.float32(1)), np.float32(_UNSEEN))
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        seen = (apart(dense(x, f"{layer}.attention.self.{part}")) for part in ("query", "key", "value"))
        told = dense(together(attended(*seen)), f"{layer}.attention.output.dense")
        x = normalized(op.add(told, x), f"{layer}.attention.output.LayerNorm")
        inner = op.gelu(dense(x, f"{layer}.intermediate.dense"), "erf")
        x = normalized(op.add(dense(inner, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")
    if _pooling(folder).get(_CLS):
        meaning = op.gather(x, first, rows)
    else:  # their sum: whether it is divided by their number makes no difference to its direction
        meaning = op.reduce_sum(op.multiply(x, op.unsqueeze(is_text, whole(2))), whole(1))
    return openvino.Model([x, op.normalize_l2(meaning, whole(1), 1e-24, "add")], [ids, is_text], "bert")


def _pooling(folder: Path) -> dict[str, Any]:
    path = next(one["path"] for one in _read(folder, "modules.json") if one["type"].endswith(f".{POOLING}"))
    pooling: dict[str, Any] = _read(folder, f"{path}/config.json")
    return pooling


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
