"""Export an encoder that makes vectors of texts, as a sentence-transformers folder or a plain
one has it, through Optimum.

The graph gives hidden states; how they become one vector is read from the folder's own modules and written to
embedder.json. The table of word pieces, of which a text uses a few rows, is stored in 8 bits.
"""

import copy
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from xpm_build.base.exporters import require_traceable
from xpm_build.base.optimum_export import trace
from xpm_build.base.text_files import TOKENIZER, copy_text_files
from xpm_build.embedding_table import with_small_table
from xpm_build.errors import BuildError, ParityError
from xpm_build.routing.topics import make_topics
from xpm_runtime.embedder import EMBEDDER_FILE, ENCODER_GRAPH, FORMAT, OUTPUT, TOPICS_FILE, Embedder

TASK = "feature-extraction"
LEAST_COSINE = 0.9999
_FED = ("input_ids", "attention_mask", "token_type_ids")
_MODULES, _SETTINGS = "modules.json", "sentence_bert_config.json"
_POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_TEXTS = (
    "List the names of users with age over 25.",
    "Convert to JSON: city is Oslo, population is 709037",
    "x",
    "A sentence that is rather longer than the others, so that those are filled up beside it when all are run at once.",
    "Größe, 東京, naïve café – and numbers: 3.14, 2/3!",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEmbedder:
    """``cosine`` is the least similarity of a text's vector and the one that the source's own model gives."""

    path: Path
    size: int
    pooling: str
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """How a folder makes vectors of hidden states; ``encoder`` is the folder of the Transformers model."""

    encoder: Path
    pooling: str = "mean"
    normalize: bool = False
    lowercase: bool = False
    max_tokens: int | None = None


def build_embedder(
    source: Path, out: Path, *, layers: int | None = None, report: Callable[[str], None] | None = None
) -> BuiltEmbedder:
    """Export the encoder in ``source`` to the new folder ``out``, and compare the vectors of a few texts.

    A plain encoder's folder, without modules.json, gets what sentence-transformers gives it: the mean of all tokens.

    Args:
        layers: keep the first ones alone. What a text is about is known before the last layer, and sooner.
        report: if it is given, the router's topics are trained with this embedder, which takes
            minutes; it is told of each.
    Raises:
        BuildError: the folder holds no encoder that can be exported, or makes vectors in a way that is not supported.
        ParityError: the exported one makes other vectors than Transformers.
    """
    if out.exists():
        raise BuildError(f"{out} is there already", hint="name a folder that is not")
    recipe = _read_recipe(source)
    try:
        model = AutoModel.from_pretrained(
            recipe.encoder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(recipe.encoder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BuildError(f"the model in {recipe.encoder} could not be loaded", context=str(error)[:300]) from error
    require_traceable(str(model.config.model_type), TASK)
    model = _cut(model, layers)
    if not (recipe.encoder / TOKENIZER).is_file():
        raise BuildError(f"{recipe.encoder} has no {TOKENIZER}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".embedder-") as scratch:
        whole = Path(scratch) / "out"
        whole.mkdir()
        copy_text_files(recipe.encoder, whole)
        model.save_pretrained(Path(scratch) / "cut")
        copy_text_files(recipe.encoder, Path(scratch) / "cut")
        model.config.save_pretrained(Path(scratch) / "cut")
        model.config.save_pretrained(whole)
        graph = trace(Path(scratch) / "cut", Path(scratch) / "traced", task=TASK)
        document = _document(graph, recipe, model, tokenizer)
        document["digest"] = _digest_of(model, document, (whole / TOKENIZER).read_bytes())
        (whole / EMBEDDER_FILE).write_text(json.dumps(document, indent=2) + "\n")
        with_small_table(graph)
        onnx.save(graph, whole / ENCODER_GRAPH)
        got = Embedder.load(whole, threads=1).embed(_TEXTS)
        cosine = _least_cosine(got, _source_vectors(recipe, model, tokenizer, document))
        if not cosine >= LEAST_COSINE:
            raise ParityError(
                "the exported encoder makes other vectors than Transformers",
                context=f"least cosine {cosine:.6f}, allowed {LEAST_COSINE}",
            )
        if report is not None:
            data, lines = make_topics(Embedder.for_routing(whole))
            (whole / TOPICS_FILE).write_bytes(data)
            for line in lines:
                report(line)
        whole.replace(out)
    return BuiltEmbedder(path=out, size=int(model.config.hidden_size), pooling=recipe.pooling, cosine=cosine)


def _cut(model: Any, layers: int | None) -> Any:
    """The same model with its first layers alone."""
    there = int(model.config.num_hidden_layers)
    if layers is None or layers == there:
        return model
    if not 0 < layers < there:
        raise BuildError(f"the encoder has {there} layers, so {layers} of them can't be kept")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    cut = AutoModel.from_config(config).eval()
    absent = cut.load_state_dict(model.state_dict(), strict=False).missing_keys
    if absent:
        raise BuildError(f"layers of a {config.model_type} can't be left out", context=f"without {absent[0]}")
    return cut


def _digest_of(model: Any, document: dict[str, Any], tokenizer: bytes) -> str:
    """What decides the vectors, and not how it was written: heads that others trained with the
    same encoder are known by it."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode() + tokenizer)
    for name, tensor in sorted(model.state_dict().items()):
        if "pooler" not in name:
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def _document(graph: onnx.ModelProto, recipe: _Recipe, model: Any, tokenizer: Any) -> dict[str, Any]:
    inputs = [value.name for value in graph.graph.input]
    if set(inputs) - set(_FED) or OUTPUT not in {value.name for value in graph.graph.output}:
        raise BuildError("the traced encoder has other inputs or outputs than texts need", context=f"inputs: {inputs}")
    most = min(int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", 512)))
    return {
        "format": FORMAT,
        "architecture": model.config.model_type,
        "inputs": inputs,
        "size": int(model.config.hidden_size),
        "max_tokens": min(recipe.max_tokens or most, most),
        "pad_token_id": int(tokenizer.pad_token_id or 0),
        "lowercase": recipe.lowercase,
        "pooling": recipe.pooling,
        "normalize": recipe.normalize,
    }


def _read_recipe(source: Path) -> _Recipe:
    if not (source / _MODULES).is_file():
        return _Recipe(encoder=source)
    modules = {str(each["type"]).rpartition(".")[2]: source / str(each["path"]) for each in _read(source / _MODULES)}
    if unknown := set(modules) - {"Transformer", "Pooling", "Normalize"}:
        raise BuildError(f"{source / _MODULES} has a module {min(unknown)[:80]}, which is not supported")
    if "Transformer" not in modules or "Pooling" not in modules:
        raise BuildError(f"{source / _MODULES} has no Transformer with Pooling behind it")
    pooling = _read(modules["Pooling"] / "config.json")
    chosen = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _POOLING or pooling.get("include_prompt") is False:
        raise BuildError(
            f"{modules['Pooling']} pools in a way that is not supported",
            context=", ".join(chosen) or "no mode is on",
            hint=f"one of {', '.join(_POOLING)}, prompts included",
        )
    path = modules["Transformer"] / _SETTINGS
    settings = _read(path) if path.is_file() else {}
    return _Recipe(
        encoder=modules["Transformer"],
        pooling=_POOLING[chosen[0]],
        normalize="Normalize" in modules,
        lowercase=bool(settings.get("do_lower_case")),
        max_tokens=settings.get("max_seq_length"),
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BuildError(f"{path} could not be read", context=str(error)[:200]) from error


def _source_vectors(recipe: _Recipe, model: Any, tokenizer: Any, document: dict[str, Any]) -> NDArray[np.float32]:
    """By Transformers, one text at a time: without filling up."""
    vectors = []
    for text in _TEXTS:
        batch = tokenizer(
            text.lower() if recipe.lowercase else text,
            return_tensors="pt",
            truncation=True,
            max_length=document["max_tokens"],
        )
        with torch.no_grad():
            hidden = model(**{name: batch[name] for name in document["inputs"]}).last_hidden_state[0]
        pooled = {"mean": hidden.mean(0), "max": hidden.amax(0), "cls": hidden[0], "last": hidden[-1]}[recipe.pooling]
        vectors.append(torch.nn.functional.normalize(pooled, dim=0) if recipe.normalize else pooled)
    return torch.stack(vectors).numpy()


def _least_cosine(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((got * wanted).sum(axis=1) / norms).min())
