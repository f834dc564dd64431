"""Covers phrases in which a model names itself, so that raters judge what it says and not who says it."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

MASK = "▒▒▒"
DEFAULT_PHRASES = (
    *("ChatGPT", "GPT", "GPT-*", "GPT 3*", "GPT 4*", "GPT 5*", "OpenAI", "Claude", "Claude-*", "Anthropic"),
    *("Gemini", "Gemini-*", "DeepMind", "Google Bard", "Gemma*", "Llama", "Llama-*", "Llama 2*", "Llama 3*"),
    *(
        "Llama 4*",
        "Llama2*",
        "Llama3*",
        "Llama4*",
        "Code Llama",
        "Meta AI",
        "Mistral",
        "Mistral-*",
        "Mixtral*",
        "Codestral*",
        "Qwen*",
        "QwQ*",
    ),
    *("Tongyi Qianwen", "Alibaba Cloud", "DeepSeek*", "Grok-*", "xAI", "GitHub Copilot", "Microsoft Copilot"),
    *("Command R*", "Phi-3*", "Phi-4*", "Falcon-*", "Vicuna-*", "OpenAssistant", "Kimi K*", "Moonshot AI"),
    *("ChatGLM*", "GLM-*", "Zhipu AI", "Yi-*", "ERNIE Bot", "MiniMax", "OLMo*", "SmolLM*"),
    *("as an AI language model", "as a large language model", "as an AI model", "as an AI assistant"),
    *("I am an AI language model", "I'm an AI language model", "I am a large language model"),
    *("I'm a large language model", "my knowledge cutoff", "made by Google", "trained by Google"),
    *("developed by Google", "made by Meta", "trained by Meta", "developed by Meta", "made by Microsoft"),
    *("developed by Microsoft", "made by Alibaba", "developed by Alibaba"),
)
LONGEST_WILD = 64  # characters that a * at the end of a word stands for at most
LONGEST_INNER = 16  # and elsewhere
MOST_INNER = 2  # of those in a phrase; more would multiply the work, so they stand for themselves

# Between words of a phrase: spaces, at most one end of line, and the signs by which Markdown stresses a word;
# inside a word, such as before the dash of a **GPT**-4, only the signs. Atomic, for no word begins so.
SIGNS = r"[*_`~\\]{0,4}"
SPACE = rf"(?>{SIGNS}[^\S\n]{{0,8}}(?:\n[> \t]{{0,8}})?{SIGNS})(?<=[\s>*_`~\\])"
LETTER = r"[^\W_]"
ENDS = rf"(?!{LETTER}|[\u0300-\u036f])"
APOSTROPHES = "'’ʼ‘"
DASHES = "-‐‑‒–—−"
IGNORED = re.compile("[\xad\u200b-\u200f\u2060-\u2064\ufeff\ufe00-\ufe0f]")  # no width: splits a word unseen


def mask(text: str, phrases: Sequence[str]) -> str:
    """The text with each phrase covered; what is not in one stays as it is, byte for byte."""
    spans = list(_spans(text, tuple(phrases)))
    if not spans:
        return text
    parts = []
    end = 0
    for start, stop in spans:
        parts += [text[end:start], MASK]
        end = stop
    return "".join([*parts, text[end:]])


def names_itself(text: str, phrases: Sequence[str]) -> bool:
    """Whether a phrase is in the text."""
    return next(_spans(text, tuple(phrases)), None) is not None


def _spans(text: str, phrases: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where the phrases are in the text, from the first to the last."""
    pattern = _pattern(phrases)
    if pattern is None:
        return
    folded, places = _folded(text)
    for found in pattern.finditer(folded):
        start, stop = found.span()
        yield (start, stop) if places is None else (places[start], places[stop - 1] + 1)


def _folded(text: str) -> tuple[str, list[int] | None]:
    """The text as it is compared, and for each of its characters the place it comes from, if that differs."""
    if text.isascii():
        return text.lower(), None
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        folded = _folded_character(character)
        characters.append(folded)
        places += [place] * len(folded)
    return "".join(characters), places


@lru_cache(maxsize=4096)
def _folded_character(character: str) -> str:
    if IGNORED.match(character):
        return ""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())


@lru_cache(maxsize=256)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    """One pattern for all phrases, the longest first; repetitions are bounded and none holds another."""
    written = {made for phrase in phrases if (made := _written(phrase))}
    if not written:
        return None
    either = "|".join(sorted(written, key=lambda made: (len(made), made), reverse=True))
    return re.compile(rf"(?<!{LETTER})(?:{either}){ENDS}")


def _written(phrase: str) -> str:
    """The phrase as a pattern; nothing if it has no letter or digit."""
    folded, _ = _folded(phrase.replace(MASK[0], ""))
    if not re.search(LETTER, folded):
        return ""
    words = [word for word in (word.strip("_`~\\") for word in folded.split()) if word]
    inner = 0
    made = []
    for word in words:
        parts = []
        for found in re.finditer(rf"\*+|{LETTER}+|[\W_]", word):
            piece = found[0]
            if piece[0] == "*" and found.end() == len(word):
                parts.append(rf"(?:{LETTER}|[.+-]){{0,{LONGEST_WILD}}}(?<![.-])")
            elif piece[0] == "*" and inner < MOST_INNER:
                inner += 1
                parts.append(rf"(?:{LETTER}|[.+-]){{0,{LONGEST_INNER}}}")
            elif piece in APOSTROPHES:
                parts.append(f"[{APOSTROPHES}]")
            elif piece in DASHES:
                parts.append(f"{SIGNS}[{DASHES}]{SIGNS}")
            else:
                parts.append(re.escape(piece))
        made.append("".join(parts))
    return SPACE.join(made)
