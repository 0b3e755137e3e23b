"""How published byte-level tokenizers cut text before they merge: the patterns, and the names that files give them.

Each way is a list of patterns in Oniguruma's syntax, applied one after the other: what one matches is a piece by itself,
what lies between is cut by the next. They are facts of the formats (GPT-2, tiktoken, and llama.cpp's `tokenizer.ggml.pre`),
written here in their plainest equivalent form.
"""

from __future__ import annotations

from tokenizers import Regex, pre_tokenizers

_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"


def _modern(digits: str, word: str = r"[^\r\n\p{L}\p{N}]?\p{L}+", other: str = r" ?[^\s\p{L}\p{N}]+[\r\n]*") -> str:
    return rf"(?i:{_ENDINGS})|{word}|{digits}|{other}|\s*[\r\n]+|\s+(?!\S)|\s+"


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(digits: str, endings: str) -> str:
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (rf"{lead}{_UPPER}*{_LOWER}+{endings}|{lead}{_UPPER}+{_LOWER}*{endings}|{digits}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip


_EAST = "[一-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"  # DeepSeek's idea of Chinese, Japanese and Korean

WAYS: dict[str, tuple[str, ...]] = {
    "gpt2": (_GPT2,),
    "digits_gpt2": (r"\p{N}", _GPT2),  # StarCoder, SmolLM, Command-R: each digit by itself
    "cl100k": (_modern(r"\p{N}{1,3}"),),
    "qwen2": (_modern(r"\p{N}"),),
    "qwen35": (_modern(r"\p{N}", r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"),),
    "o200k": (_cased(r"\p{N}{1,3}", f"(?i:{_ENDINGS})?"),),
    "tekken": (_cased(r"\p{N}", ""),),
    "falcon": (r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]"),
    "deepseek_llm": ("[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", _EAST, r"\p{N}+"),
    "deepseek_coder": ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _EAST, r"\p{N}"),
    "deepseek3": (r"\p{N}{1,3}", "[一-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                  r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
                  r"|\s+(?!\S)|\s+"),
    "bloom": (r" ?[^(\s|.,!?…。，、।۔،)]+",),
    "viking": (r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"),
    "chameleon": ("<sentinel:[0-9]+>", "(IMGIMG)([A-I]{1,4})Z", "([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", _GPT2),
    "llama.cpp": (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}  # fmt: skip

# The names of `tokenizer.ggml.pre` (gguf-py's convert script gives them by a hash of what a tokenizer does to a test text).
NAMED = {
    "default": "llama.cpp",
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), "cl100k"),
    **dict.fromkeys(("qwen2", "stablelm2", "megrez", "deepseek-r1-qwen"), "qwen2"),
    **dict.fromkeys(("gpt-4o", "llama4"), "o200k"),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "gigachat", "jina-es", "jina-de", "jina-v1-en",
                     "jina-v2-es", "jina-v2-de", "jina-v2-code"), "gpt2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"), "digits_gpt2"),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), "bloom"),
    "falcon": "falcon", "deepseek-llm": "deepseek_llm", "deepseek-coder": "deepseek_coder", "deepseek-v3": "deepseek3",
    "tekken": "tekken", "viking": "viking", "chameleon": "chameleon", "qwen35": "qwen35",
}  # fmt: skip
WHOLE_FIRST = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken")  # a piece that is a token is one, whatever the merges


def cutting(way: str, prefixed: bool = False) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer of one of `WAYS`, its pieces written in the 256 characters of byte-level BPE; `prefixed` puts a
    space before a text."""
    if way == "gpt2":  # the encoder's own
        return pre_tokenizers.ByteLevel(add_prefix_space=prefixed, use_regex=True)
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in WAYS[way]]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=prefixed, use_regex=False)])
