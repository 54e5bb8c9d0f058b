"""ColBERT's own way to token ids (colbert-ai's query_tokenization.py and doc_tokenization.py), with transformers."""

from __future__ import annotations

import string
from pathlib import Path

from transformers import PreTrainedTokenizerFast


def reference_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """tokenizer.json as it is, with the names of its special tokens."""
    names = {"<s>": "<s> <pad> </s> <unk> <mask>", "[CLS]": "[CLS] [PAD] [SEP] [UNK] [MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    first = "<s>" if "<s>" in tokenizer.get_vocab() else "[CLS]"
    roles = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")
    tokenizer.add_special_tokens(dict(zip(roles, names[first].split(), strict=True)))
    return tokenizer


def query_ids(tokenizer: PreTrainedTokenizerFast, text: str, marker: str, length: int) -> tuple[list[int], list[int]]:
    """(ids, attention mask) as the tokenizer gives it: padded to length - 1, marker put in, padding made mask."""
    encoded = tokenizer(text, max_length=length - 1, truncation=True, padding="max_length")
    ids, mask = list(encoded["input_ids"]), list(encoded["attention_mask"])
    ids.insert(1, tokenizer.convert_tokens_to_ids(marker))
    mask.insert(1, 1)
    return [tokenizer.mask_token_id if i == tokenizer.pad_token_id else i for i in ids], mask


def document_ids(tokenizer: PreTrainedTokenizerFast, text: str, marker: str, length: int) -> list[int]:
    ids = list(tokenizer(text, max_length=length - 1, truncation=True)["input_ids"])
    ids.insert(1, tokenizer.convert_tokens_to_ids(marker))
    return ids


def skipped_ids(tokenizer: PreTrainedTokenizerFast, rule: str, words: list[str] | None = None) -> set[int]:
    symbols = list(string.punctuation) if words is None else words
    if rule == "reference":
        return {tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in symbols}
    ids = {tokenizer.convert_tokens_to_ids(symbol) for symbol in symbols}
    return ids if rule == "pylate" else ids - {tokenizer.unk_token_id}
