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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.errors import ModelError
from rag.protocols import TokenVectors, Vectors
from rag.wordpieces import WordPieces, unit

if TYPE_CHECKING:
    from tokenizers import Encoding

BATCH_TOKENS = 2048
"""Word pieces of a batch, padding included. Half and twice as many are as fast on two cores, four times half so."""
EXACT, FAST = "f32", "bf16"
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


class BertEmbedder:
    """Implements protocols.Embedder. The network is loaded when the first text is embedded; counting needs none of it.

    Several threads may embed at once. Passages and the words of sentences, which are many, are embedded in bfloat16
    where the processor computes in it, twice as fast and exact to three digits; questions in single precision.
    """

    def __init__(self, folder: Path, *, name: str, sha256: str) -> None:
        self.name = name
        self.sha256 = sha256
        self._folder = folder
        self._pieces = WordPieces(folder)
        self._compiled: dict[str, Any] = {}
        self._requests = threading.local()
        self._loading = threading.Lock()

    @functools.cached_property
    def dimension(self) -> int:
        return int(_read(self._folder, "config.json")["hidden_size"])

    @property
    def max_tokens(self) -> int:
        return self._pieces.max_tokens

    def count(self, text: str) -> int:
        return self._pieces.count(text)

    def has_token(self, word: str) -> bool:
        return self._pieces.has_token(word)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, FAST)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, EXACT)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        encodings = self._pieces.cut(texts)
        found: dict[int, TokenVectors] = {}
        for rows, tokens, meanings in self._run(encodings, FAST):
            for row, of_text, meaning in zip(rows, tokens, meanings, strict=True):
                kept, spans = self._pieces.words_of(encodings[row])
                found[row] = TokenVectors(meaning, unit(of_text[kept]), spans)
        return [found[row] for row in range(len(texts))]

    def _embed(self, texts: Sequence[str], precision: str) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows, _, meanings in self._run(self._pieces.cut(texts), precision):
            vectors[rows] = meanings
        return vectors

    def _run(self, encodings: Sequence[Encoding], precision: str) -> Iterator[tuple[list[int], Vectors, Vectors]]:
        """(rows, (n, longest, dimension) tokens, (n, dimension) texts), a batch of texts of like length at a time."""
        for rows in _batches([len(one.ids) for one in encodings]):
            longest = len(encodings[rows[0]].ids)
            ids = np.zeros((len(rows), longest), dtype=np.int32)
            is_text = np.zeros((len(rows), longest), dtype=np.float32)
            for line, row in enumerate(rows):
                own = encodings[row].ids
                ids[line, : len(own)], is_text[line, : len(own)] = own, 1.0
            request = self._request(precision)
            request.infer([ids, is_text])
            tokens, meanings = (np.array(request.get_output_tensor(number).data) for number in (0, 1))
            yield rows, tokens, meanings

    def _request(self, precision: str) -> Any:
        """What runs the network, one for each thread."""
        made: dict[str, Any] = self._requests.__dict__
        if precision not in made:
            made[precision] = self._network(precision).create_infer_request()
        return made[precision]

    def _network(self, precision: str) -> Any:
        import openvino

        with self._loading:
            core = openvino.Core()
            if precision == FAST and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                precision = EXACT
            if precision not in self._compiled:
                hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
                self._compiled[precision] = core.compile_model(self._read(), "CPU", hints)
            return self._compiled[precision]

    def _read(self) -> Any:
        from safetensors import SafetensorError

        try:
            return _network(self._folder)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"the embedder in {self._folder} cannot be loaded ({' '.join(str(error).split())}). "
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


def _network(folder: Path) -> Any:
    """The network as OpenVINO's graph: (n, t) `ids` and `is_text` in, (n, t, d) tokens and (n, d) unit rows out."""
    import openvino
    from openvino import opset13 as op
    from safetensors.numpy import load_file

    config, raw = _read(folder, "config.json"), load_file(folder / _WEIGHTS)
    weights = {name.removeprefix("bert."): value.astype(np.float32, copy=False) for name, value in raw.items()}
    heads, size = int(config["num_attention_heads"]), int(config["hidden_size"])

    def whole(*numbers: int) -> Any:
        return op.constant(np.array(numbers, dtype=np.int64))

    def weight(name: str) -> Any:
        return op.constant(weights[name])

    def dense(x: Any, name: str) -> Any:
        return op.add(op.matmul(x, weight(f"{name}.weight"), False, True), weight(f"{name}.bias"))

    def normalized(x: Any, name: str) -> Any:
        centred = op.mvn(x, whole(-1), True, float(config["layer_norm_eps"]), "inside_sqrt")
        return op.add(op.multiply(centred, weight(f"{name}.weight")), weight(f"{name}.bias"))

    def apart(x: Any) -> Any:
        """(n, t, d) to (n, heads, t, d / heads)"""
        return op.transpose(op.reshape(x, whole(0, 0, heads, size // heads), True), whole(0, 2, 1, 3))

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
        attended = dense(together(op.scaled_dot_product_attention(*seen, padding)), f"{layer}.attention.output.dense")
        x = normalized(op.add(attended, x), f"{layer}.attention.output.LayerNorm")
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
