"""The tokenizer of a GGUF file as `tokenizers` takes it: ids are those that llama.cpp gives.

GGUF names how text is cut before byte pairs are merged (`tokenizer.ggml.pre`); the rules behind
the names are llama.cpp's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from xpm_build.errors import BuildError

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # tokenizer.ggml.token_type
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+"
    r"((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class _Cut:
    """How text is cut, one rule after the other; whether what is a token is left whole;
    whether a text begins with BOS."""

    rules: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


_CUTS = {
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "phi-2", "exaone4", "granite-docling", "trillion"), _Cut((_GPT2,))),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _Cut((r"\p{N}", _GPT2))
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan"), _Cut((_QWEN2,))),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _Cut((_LLAMA3,), True, True)),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _Cut((_LLAMA3,))),
    "tekken": _Cut((_TEKKEN,), True, True),
    "default": _Cut((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
}


def build_tokenizer(metadata: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """(the tokenizer, the content of tokenizer_config.json) of a file's metadata.

    Raises:
        BuildError: the tokenizer is of a kind that is not known here, or incomplete.
    """
    kind = metadata.get("tokenizer.ggml.model")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise BuildError("the GGUF file has no vocabulary", context="tokenizer.ggml.tokens is absent")
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens):
        raise BuildError(
            "the GGUF file's vocabulary is incomplete", context=f"{len(tokens)} tokens, {len(types)} types"
        )
    if kind == "gpt2":
        tokenizer, add_bos = _byte_level(metadata, tokens)
    elif kind == "llama":
        tokenizer, add_bos = _sentence_piece(metadata, tokens, types), True
    else:
        raise BuildError(
            f"tokenizers of the kind {str(kind)[:40]!r} are not supported",
            hint="supported: gpt2 (byte-level BPE) and llama (SentencePiece BPE); convert the model's folder instead",
        )
    named = {
        name: tokens[number]
        for name, key in (
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            ("pad_token", "padding"),
        )
        if isinstance(number := metadata.get(f"tokenizer.ggml.{key}_token_id"), int) and 0 <= number < len(tokens)
    }
    _add_tokens(tokenizer, tokens, types)
    add_bos = bool(metadata.get("tokenizer.ggml.add_bos_token", add_bos)) and "bos_token" in named
    if add_bos:
        bos = named["bos_token"]
        pair = processors.TemplateProcessing(single=f"{bos}:0 $A:0", special_tokens=[(bos, tokens.index(bos))])
        tokenizer.post_processor = pair
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": add_bos, **named}
    config["clean_up_tokenization_spaces"] = False
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str) and template:
        config["chat_template"] = template
    return tokenizer, config


def _byte_level(metadata: Mapping[str, Any], tokens: list[str]) -> tuple[Tokenizer, bool]:
    pre = metadata.get("tokenizer.ggml.pre") or "default"
    if pre not in _CUTS:
        raise BuildError(
            f"the tokenizer cuts text by rules called {str(pre)[:40]!r}, which are not known here",
            hint=f"known: {', '.join(sorted(_CUTS))}; convert the model's folder instead",
        )
    cut = _CUTS[pre]
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise BuildError("the GGUF file has no merges", context="tokenizer.ggml.merges is absent")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    missing = next((pair for pair in pairs if not {*pair, "".join(pair)} <= vocabulary.keys()), None)
    if missing:
        raise BuildError("the GGUF file's merges are not of its vocabulary", context=f"{' '.join(missing)!r}"[:200])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=cut.ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(rule), behavior="isolated") for rule in cut.rules),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, cut.add_bos


def _sentence_piece(metadata: Mapping[str, Any], tokens: list[str], types: list[int]) -> Tokenizer:
    """Pairs are merged by the score of what they make; characters that are no token become their bytes."""
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise BuildError("the GGUF file's vocabulary has no scores")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    plain = {token for token, kind in zip(tokens, types, strict=True) if kind in (1, _USER_DEFINED)}
    merges = [
        (-scores[vocabulary[token]], vocabulary[token], token[:cut], token[cut:])
        for token in plain
        for cut in range(1, len(token))
        if token[:cut] in plain and token[cut:] in plain
    ]
    pairs = [(left, right) for _, _, left, right in sorted(merges)]
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    if not isinstance(unknown, int) or not 0 <= unknown < len(tokens):
        raise BuildError("the GGUF file's unknown token is not of its vocabulary", context=f"it is {str(unknown)[:40]}")
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=pairs, unk_token=tokens[unknown], fuse_unk=True, byte_fallback=True)
    )
    has_prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    steps = [*([normalizers.Prepend("▁")] if has_prefix else []), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    strip = [decoders.Strip(content=" ", left=1)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Control tokens are special; tokens that somebody added are found in text before anything else, and are text."""
    added = []
    for token, kind in zip(tokens, types, strict=True):
        if token and kind in (_UNKNOWN, _CONTROL, _USER_DEFINED):
            added.append(AddedToken(token, normalized=False, special=kind != _USER_DEFINED))
    tokenizer.add_tokens([each for each in added if not each.special])
    tokenizer.add_special_tokens([each for each in added if each.special])


def end_tokens(metadata: Mapping[str, Any]) -> list[int]:
    """The ids that end an answer: those that are stated, and control tokens that are known for it."""
    stated = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    ids = [number for number in stated if isinstance(number, int)]
    types = metadata.get("tokenizer.ggml.token_type") or []
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    known = [
        n for n, (token, kind) in enumerate(zip(tokens, types, strict=False)) if kind == _CONTROL and token in _ENDS
    ]
    return list(dict.fromkeys([*ids, *known]))


_ENDS = frozenset(
    ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "</s>", "<|eom_id|>")
)


def tokenizer_files(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Content by file name."""
    tokenizer, config = build_tokenizer(metadata)
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False) + "\n",
    }
