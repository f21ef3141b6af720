"""Export a decoder whose graph is not written here: traced through Optimum in float32, then given slots.

The result is a folder: ``exported.onnx`` over ``model.onnx_data``, ``graph.json`` and the tokenizer's files. The whole
model is in memory, several times over while it is traced.
"""

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from xpm_build.base.exporters import DECODER_TASK, TRACED_VARIANTS, require_traceable
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import slots_of
from xpm_build.base.slot_insertion import Places, insert_slots
from xpm_build.base.text_files import copy_text_files, end_token_ids
from xpm_build.errors import BuildError
from xpm_runtime.graph import EXPORTED_FORM, EXPORTED_GRAPH, FORMAT, GRAPH_FILE, WEIGHTS

_OPSET = 18
_PAST, _PRESENT = "past_key_values.", "present."
_FED = {"input_ids", "attention_mask", "position_ids"}  # what the runtime can give besides the cache
_LEAST_EXTERNAL_BYTES = 1 << 16  # what shapes depend on is smaller, and must lie in the graph


def export_traced(source: Path, out: Path, model: Any, *, digest: str = "") -> None:
    """Export the model in a Hugging Face folder, which ``model`` was loaded from, to the folder ``out``.

    Raises:
        BuildError: Optimum can't export it, or the graph is not one that slots can be put into.
    """
    require_traceable(model.config.model_type, DECODER_TASK)
    out.mkdir(parents=True, exist_ok=True)
    copy_text_files(source, out)
    places = _places(model)
    with tempfile.TemporaryDirectory(dir=out, prefix=".traced-") as scratch:
        graph = insert_slots(trace(source, Path(scratch), task=DECODER_TASK), places)
    document = _document(graph.graph, places, model, end_token_ids(out, model.config))
    document["base_digest"] = digest or base_digest(model)
    onnx.save(
        graph, out / EXPORTED_GRAPH, save_as_external_data=True, location=WEIGHTS, size_threshold=_LEAST_EXTERNAL_BYTES
    )
    (out / GRAPH_FILE).write_text(json.dumps(document, indent=2) + "\n")


def trace(source: Path, scratch: Path, *, task: str) -> onnx.ModelProto:
    """The graph that Optimum makes of the model in a folder for a task, in float32; ``scratch``
    is a folder for its files.

    Raises:
        BuildError: it can't.
    """
    from optimum.exporters.onnx import main_export

    try:
        with _quiet():
            main_export(
                str(source.resolve()),
                scratch,
                task=task,
                opset=_OPSET,
                dtype="fp32",
                framework="pt",
                library_name="transformers",
                local_files_only=True,
                trust_remote_code=False,
                no_post_process=True,
                do_validation=False,
                do_constant_folding=False,  # weights keep their names
            )
    except Exception as error:  # whatever the model's own code raises when it is traced
        raise BuildError(
            f"Optimum could not export the model in {source}", context=f"{type(error).__name__}: {error}"[:500]
        ) from error
    return onnx.load(scratch / "model.onnx")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and the traced code print for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _places(model: Any) -> Places:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    if head is None or id(head) not in names or id(embedding) not in names:
        raise BuildError(
            f"a model of type {model.config.model_type!r} has no embedding and head that adapters could use"
        )
    return Places(
        linears=slots_of(model),
        embedding=names[id(embedding)],
        head=names[id(head)],
        embedding_size=int(embedding.weight.shape[1]),
        vocab_size=int(model.config.vocab_size),
    )


def _document(graph: onnx.GraphProto, places: Places, model: Any, eos_token_ids: list[int]) -> dict[str, Any]:
    """The content of graph.json (docs/reference/formats/graph.md), without the digest."""
    config = model.config
    cache = [_cache(value) for value in graph.input if value.name.startswith(_PAST)]
    given = {value.name for value in graph.output} - {"logits"}
    fed = [value.name for value in graph.input if value.name in _FED]
    known = _FED | {each["past"] for each in cache} | {"logit_positions"} | {each.name for each in graph.initializer}
    unknown = {value.name for value in graph.input} - known
    if unknown or not cache or given != {each["present"] for each in cache}:
        raise BuildError(
            "the traced graph keeps its cache in a way that the runtime doesn't know",
            context=f"inputs {sorted(unknown) or [each['past'] for each in cache[:2]]}, outputs {sorted(given)[:2]}",
        )
    document: dict[str, Any] = {
        "format": FORMAT,
        "form": EXPORTED_FORM,
        "architecture": config.model_type,
        "base_digest": "",
        "variant": TRACED_VARIANTS[0],
        "dtype": "float32",
        "num_layers": int(config.num_hidden_layers),
        "num_heads": int(config.num_attention_heads),
        "num_kv_heads": cache[0]["heads"],
        "head_dim": cache[0]["size"],
        "hidden_size": places.embedding_size,
        "vocab_size": places.vocab_size,
        "max_position_embeddings": int(config.max_position_embeddings),
        "inputs": fed,
        "cache": cache,
        "eos_token_ids": eos_token_ids,
        "pad_token_id": config.pad_token_id,
        "linears": [linear.to_dict() for linear in places.linears],
    }
    return document | {"has_offsets": True} if places.has_bias else document


def _cache(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """One tensor of the cache, (1, heads, tokens, size)."""
    dimensions = value.type.tensor_type.shape.dim
    if len(dimensions) != 4 or not dimensions[1].dim_value or not dimensions[3].dim_value:
        raise BuildError(f"{value.name} of the traced graph is not (batch, heads, tokens, size)")
    present = _PRESENT + value.name.removeprefix(_PAST)
    return {"past": value.name, "present": present, "heads": dimensions[1].dim_value, "size": dimensions[3].dim_value}
