"""Tiny random sentence encoders, as sentence-transformers lays them out and plain."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, DistilBertConfig, PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:/!?"


def _tokenizer() -> PreTrainedTokenizerFast:
    words = [*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(20)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )


def save_encoder(
    folder: Path,
    *,
    kind: str = "bert",
    modules: Mapping[str, str] | None = None,
    pooling: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """An encoder's folder.

    Args:
        modules: of sentence-transformers, each with its path; a plain encoder if None.
    """
    torch.manual_seed(0)
    common = {"vocab_size": 200, "max_position_embeddings": 64, "initializer_range": 0.3}
    config = (
        BertConfig(**common, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
        if kind == "bert"
        else DistilBertConfig(**common, dim=32, n_layers=2, n_heads=4, hidden_dim=48)
    )
    AutoModel.from_config(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    if modules is not None:
        entries = [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (name, path) in enumerate(modules.items())
        ]
        (folder / "modules.json").write_text(json.dumps(entries))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(
            json.dumps({"word_embedding_dimension": 32, **(pooling or {})})
        )
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings or {}))
    return folder
