"""How an expert's numbers are best kept: the file of slots as it is, tar.gz, and a container with
aligned, hashed sections.

    python -m tests.benchmarks.expert_files [--model FOLDER --adapter FOLDER] [--repeats 15]

Without a model: random LoRA of rank 16 in the shapes of SmolLM2-135M and Qwen3-0.6B. Prints, for each form, its
size and the milliseconds until all arrays are there and were looked through for what is not finite: hot (the pages
are in memory) and cold (they were dropped before). With an adapter that was trained, also what each way to make it
smaller loses of its update.

The container (``.osd``) is a prototype that lives here alone
(docs/explanation/adr/0017-slots-stay-safetensors.md): magic, version, table of contents, sections at multiples of
64 bytes with a SHA-256 each, zstd where asked, mapped into memory.
"""

import argparse
import hashlib
import io
import json
import mmap
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from tests.benchmarks.smaller_updates import losses
from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.adapter.methods import CompiledAdapter
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import Architecture
from xpm_build.base.configuration import Configuration, read_configuration
from xpm_index.archive import extract_archive, write_archive
from xpm_runtime import AdapterSpec
from xpm_runtime.adapter import SLOTS, load_adapter
from xpm_runtime.graph import GRAPH_FILE, GraphSpec

Arrays = Mapping[str, NDArray[Any]]
_MAGIC, _VERSION, _ALIGNED = b"xpm-osd\n", 1, 64
_SHAPE = {"rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": True, "hidden_act": "silu"}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "SmolLM2-135M": {
        **_SHAPE,
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
    },
    "Qwen3-0.6B": {
        **_SHAPE,
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
}
_DIGEST = "sha256:" + "0" * 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a Hugging Face folder, of which the configuration is read")
    parser.add_argument("--adapter", type=Path, help="what PEFT saved for it")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.model and options.adapter:
            config = read_configuration(options.model)
            base = Adaptable.of_configuration(config, _no_weights)
            adapter = compile_adapter(options.adapter, base)
            compare_files(options.adapter.name, config, adapter, Path(scratch), options.repeats)
            losses(adapter)
            return
        for name, shape in SHAPES.items():
            config = Configuration.of(shape)
            folder = Path(scratch) / name
            folder.mkdir()
            compare_files(f"random, {name}", config, random_adapter(config), folder, options.repeats)


def _no_weights(name: str) -> NDArray[np.float32]:
    raise KeyError(name)


def random_adapter(config: Any, rank: int = 16) -> CompiledAdapter:
    rng = np.random.default_rng(0)
    tensors = {}
    for linear in Architecture(config).linears():
        for part, size in (("A", linear.num_in), ("B", linear.num_out)):
            tensors[f"slots.{linear.name}.{part}"] = (0.02 * rng.standard_normal((rank, size))).astype(np.float32)
    return CompiledAdapter(kind="lora", rank=rank, tensors=tensors)


# The container


def write_osd(path: Path, arrays: Arrays, *, packed: bool) -> None:
    """magic (8), version (4), length of the table (4), table as JSON, sections."""
    sections, contents = [], []
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        content = zstandard.ZstdCompressor(level=12).compress(raw) if packed else raw
        contents.append(content)
        sections.append(
            {
                "name": name,
                "dtype": array.dtype.str,
                "shape": list(array.shape),
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    table = json.dumps({"packed": packed, "sections": sections}).encode()
    with path.open("wb") as file:
        file.write(_MAGIC + _VERSION.to_bytes(4, "little") + len(table).to_bytes(4, "little") + table)
        for content in contents:
            file.write(bytes(-file.tell() % _ALIGNED) + content)


def read_osd(path: Path, *, verify: bool = True) -> dict[str, NDArray[Any]]:
    """Views into the mapped file, or what was unpacked of it; ValueError of what is not as its table says."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if bytes(data[:8]) != _MAGIC or int.from_bytes(data[8:12], "little") != _VERSION:
        raise ValueError("no container of this version")
    first = 16 + int.from_bytes(data[12:16], "little")
    table = json.loads(bytes(data[16:first]))
    arrays: dict[str, NDArray[Any]] = {}
    for section in table["sections"]:
        first += -first % _ALIGNED
        content = data[first : first + section["bytes"]]
        if verify and hashlib.sha256(content).hexdigest() != section["sha256"]:
            raise ValueError(f"{section['name']} was altered")
        raw = zstandard.ZstdDecompressor().decompress(content) if table["packed"] else content
        arrays[section["name"]] = np.frombuffer(raw, section["dtype"]).reshape(section["shape"])
        first += section["bytes"]
    return arrays


# What is compared


def compare_files(name: str, config: Any, adapter: CompiledAdapter, folder: Path, repeats: int) -> None:
    """Print a table of forms: bytes, and the time to load hot and cold, medians."""
    graph = _graph(config, folder)
    print(f"\n{name}: rank {adapter.rank}, {len(adapter.tensors) // 2} linears, {repeats} loads each\n")
    print("| form | numbers | MB | hot ms | cold ms |\n|---|---|---|---|---|")
    for storage in ("float32", "float16", "int8"):
        for form, path, load in _forms(adapter, graph, folder / storage, storage):
            for _ in range(2):
                load()
            hot, cold = _times(load, path, repeats, cold=False), _times(load, path, repeats, cold=True)
            print(f"| {form} | {storage} | {path.stat().st_size / 1e6:.1f} | {hot:.1f} | {cold:.1f} |", flush=True)


def _forms(
    adapter: CompiledAdapter, graph: GraphSpec, folder: Path, storage: str
) -> Iterator[tuple[str, Path, Callable[[], object]]]:
    folder.mkdir(parents=True)
    slots = folder / SLOTS
    save_slots(adapter, slots, base_digest=_DIGEST, storage=storage)
    arrays = _stored(slots)
    spec = AdapterSpec.read("expert", slots)
    yield "today: slots.safetensors, checked by the engine", slots, lambda: load_adapter(spec, graph, is_addressed=True)
    yield "slots.safetensors, read and looked through", slots, lambda: _looked_through(_stored(slots))
    for packed in (False, True):
        path = folder / f"packed-{packed}.osd"
        write_osd(path, arrays, packed=packed)
        label = ".osd, zstd" if packed else ".osd"
        yield f"{label}, hashes verified", path, lambda path=path: _looked_through(read_osd(path))
        yield f"{label}, not verified", path, lambda path=path: _looked_through(read_osd(path, verify=False))
    package, old = folder / "package.expert", folder / "package.tar.gz"
    manifest = {"manifest.json": b'{"name":"expert-x","version":"0.1.0","base_models":[{"name":"x"}]}'}
    write_archive(package, {**manifest, SLOTS: slots})
    with tarfile.open(old, "w:gz", compresslevel=6) as archive:
        archive.add(slots, SLOTS)
    yield "tar.gz, unpacked at each load", old, lambda: _looked_through(_of_tar(old))
    yield "tar.zst (.expert), unpacked: once, at installation", package, lambda: _unpacked(package)


def _graph(config: Any, folder: Path) -> GraphSpec:
    document = Architecture(config).graph_document(
        base_digest=_DIGEST, variant="int4", dtype="float32", native_kv=True, eos_token_ids=[2]
    )
    (folder / GRAPH_FILE).write_text(json.dumps(document))
    return GraphSpec.read(folder)


def _stored(path: Path) -> dict[str, NDArray[Any]]:
    return _arrays(np.fromfile(path, np.uint8))


def _of_tar(path: Path) -> dict[str, NDArray[Any]]:
    with tarfile.open(path) as archive:
        member = archive.extractfile(SLOTS)
        assert isinstance(member, io.BufferedReader)
        return _arrays(np.frombuffer(member.read(), np.uint8))


def _arrays(data: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, as ``xpm_runtime.adapter`` views them."""
    length = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + length].tobytes())
    kinds = {"F32": "<f4", "F16": "<f2", "I8": "i1"}
    return {
        name: data[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]]
        .view(kinds[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _looked_through(arrays: Arrays) -> Arrays:
    """As the engine does before it trusts numbers: by their bits, the largest exponent."""
    for array in arrays.values():
        if array.dtype.kind == "f" and array.size:
            bits = array.view(np.uint16 if array.itemsize == 2 else np.uint32)
            assert np.isfinite(
                np.array((bits & (0x7FFF if array.itemsize == 2 else 0x7FFFFFFF)).max(), bits.dtype).view(array.dtype)
            )
        else:
            array.max(initial=0)
    return arrays


def _unpacked(package: Path) -> None:
    with tempfile.TemporaryDirectory(dir=package.parent) as folder:
        extract_archive(package, Path(folder))


def _times(load: Callable[[], object], path: Path, repeats: int, *, cold: bool) -> float:
    """The median of milliseconds."""
    found = []
    for _ in range(repeats):
        if cold:
            _drop(path)
        started = time.perf_counter()
        load()
        found.append(1e3 * (time.perf_counter() - started))
    return statistics.median(found)


def _drop(path: Path) -> None:
    """Let the kernel forget the pages of a file that was written."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()
