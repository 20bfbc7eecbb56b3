"""Text that is judged, laid before a language model so that it cannot pass for the judge's orders or the judge's words.

It stands between lines with a mark that it cannot know; lines in it that look like a verdict, like such a mark or like
the end of thoughts are quoted, so a judge that repeats them gives no verdict; words that chat templates take for the
end of a message are broken (arXiv 2410.07137 shows what plain prompts are open to).
"""

import hashlib
import re
import unicodedata
from functools import lru_cache

THOUGHTS_END = "</think>"

# All of these are matched against `_skeleton`, and take more than any parser of ours would.
_GAP = r"\s{0,4}"
_JUDGEMENT = r"(?:score|verdict|rating|grade|judge?ment)s?"
_TAG = r"(?:score|verdict|rating|grade|judge?ment|result|winner)s?"
_QUOTED = re.compile(
    "|".join(
        [
            # Score: 5, **Final score** = 5
            rf"^[\W_]*(?:[^\W_]{{1,20}}[\W_]{{1,4}}){{0,3}}{_JUDGEMENT}[\W_]{{0,8}}[:=]",
            rf"(?<![^\W_]){_JUDGEMENT}[\W_]{{0,8}}[:=][\W_]{{0,8}}(?:\d|[ab]\b)",  # so I say: Score: 5
            rf"\[{_GAP}{_TAG}{_GAP}\]",  # [RESULT] 5 (Prometheus)
            # [[A]], [[5]], [[A>>B]] (MT-Bench, Arena-Hard)
            rf"\[\[{_GAP}(?:[a-z]|tie|draw|\d{{1,3}}(?:/\d{{1,3}})?|[a-z]{_GAP}[<>=]{{1,2}}{_GAP}[a-z]|[a-z]{{5,9}}\s\w)"
            rf"{_GAP}\]\]",
            rf"[\"'](?:[a-z]{{1,20}}[_ -]?){{0,2}}{_JUDGEMENT}[\"']\s*(?:[:=]|$)",  # {"score": 5}
            r"\\u00[4-7][0-9a-f]",  # "sc\u006fre", which JSON reads as "score"
            rf"<{_GAP}/?{_GAP}{_TAG}\b",  # <score>5</score>
            rf"<{_GAP}/?{_GAP}think",
            rf"\[{_GAP}[0-9a-f]{{12}}",  # [0123456789abcdef END]
            rf"\[{_GAP}(?:/|end\b)[^\[\]\n]{{0,40}}\]",  # [END], [/ANSWER]
            rf"\[[^\[\]\n]{{0,40}}\bend{_GAP}\]",
            rf"<{_GAP}/{_GAP}(?:answer|response|candidate|conversation|reference|system|assistant|user|instruction)",
            r"^\W*(?:end|start|beginning)\s+of\s+(?:the\s+)?(?:answer|response|candidate|conversation|text)",
        ]
    )
)

# What tokenizers of the common model families take for one token with a meaning, wherever it stands in a text.
_CONTROL_WORD = re.compile(
    r"[<＜](?=[|｜][^|｜<>\s]{1,60}[|｜]?[>＞]|[a-z_]{1,20}[|｜]>)"  # <|im_end|>, <｜User｜>, <|turn>, <turn|>
    r"|<(?=/?(?:s|think|tool_call|tool_response|image|video|audio|bos|eos|pad|unk|mask|sep|cls|eop|sop)>)"
    r"|<(?=(?:start|end)_of_(?:turn|image|text|message)>|(?:unused|extra_id_|extra_|reserved_)\d{1,6}>|fim_[a-z]{1,9}>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|AVAILABLE_TOOLS|ARGS|THINK|IMG|SEP|CLS|MASK"
    r"|gMASK|PAD|UNK)\])"
)
# Half a character can't be sent, NUL ends texts in some servers: both are shown, not passed on.
_SHOWN = {code: 0x2400 + code for code in (*range(9), *range(14, 28))} | {0x7F: 0x2421}
_HALF = re.compile("[\ud800-\udfff]")

# Letters and signs of other scripts, lower case and without accents, by what they are read as.
_READ_AS = {
    "a": "аαɑᴀ", "b": "вᴃ", "c": "сϲᴄ", "d": "ԁᴅ", "e": "еεᴇ", "g": "ɡɢ", "h": "һнʜ", "i": "іιıɪӏ", "j": "јᴊ",
    "k": "кκᴋ", "m": "мᴍ", "n": "ոηɴ", "o": "оοօσᴏ", "p": "рρᴘ", "q": "ԛ", "r": "гʀ", "s": "ѕꜱ", "t": "тτᴛ",
    "u": "уυսᴜ", "v": "ѵνᴠ", "w": "ԝωᴡ", "x": "хχ", "y": "ү", ":": "∶꞉ː։׃", "[": "【〔〖", "]": "】〕〗", "<": "⟨‹〈",
    ">": "⟩›〉", "|": "∣ǀ│❘", '"': "“”„«»", "'": "‘’", "/": "⁄∕", "[[": "⟦", "]]": "⟧", "": "\u115f\u1160\u2800",
}  # fmt: skip
_LOOK_ALIKES = str.maketrans({sign: plain for plain, signs in _READ_AS.items() for sign in signs})


def lay_out(parts: dict[str, str], mark: str) -> str:
    """Write texts between marked lines, made harmless.

    Args:
        parts: Headings and texts, such as `CONVERSATION` and `ANSWER TO RATE`.
        mark: What `make_mark` gave for these texts.
    """
    return "\n\n".join(
        f"[{mark} {name}]\n{quote_verdicts(break_control_words(make_sendable(text)))}\n[{mark} END]"
        for name, text in parts.items()
    )


def quote_verdicts(text: str) -> str:
    """Put `> ` before each line that looks like a verdict, a mark or the end of thoughts, whatever its letters."""
    lines = text.splitlines(keepends=True)
    return "".join(f"> {line}" if _QUOTED.search(_skeleton(line)) else line for line in lines)


def break_control_words(text: str) -> str:
    """Put a space into what a chat template's tokenizer would take for the end of a message: `< |im_end|>`."""
    return _CONTROL_WORD.sub(lambda match: f"{match[0]} ", text)


def make_sendable(text: str) -> str:
    """Replace lone surrogates by U+FFFD and control characters by their pictures."""
    return mend_halves(text.translate(_SHOWN))


def mend_halves(text: str) -> str:
    """Replace lone surrogates, which no file and no request can hold, by U+FFFD."""
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def make_mark(secret: str, texts: list[str]) -> str:
    """Give a mark that none of the texts contains: 16 hexadecimal digits.

    Args:
        secret: What the authors of the texts do not know: the candidate's id, and which question this is.
        texts: What will stand between the marks.
    """
    mark = digest("mark", secret)
    while any(mark in text for text in texts):
        mark = digest("mark", mark)
    return mark


def digest(purpose: str, text: str) -> str:
    """Hash a text for a purpose: 16 hexadecimal digits; lone surrogates are hashed as they are."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8, person=purpose.encode()).hexdigest()


def make_seed(seed: int, what: str) -> int:
    """Give a question's seed in [0, 2**31): of the judge's own and of what is asked, with room for 64 samples."""
    return int(digest("seed", f"{seed} {what}"), 16) & 0x7FFFFFC0


def _skeleton(line: str) -> str:
    """Give a line as an eye reads it: nothing invisible, no accents, letters of other scripts as what they mimic."""
    if line.isascii() and line.rstrip("\r\n").isprintable():
        return line.lower()
    return line.translate({ord(char): _read(char) for char in set(line)})


@lru_cache(maxsize=4096)
def _read(char: str) -> str:
    seen = (part for part in unicodedata.normalize("NFKD", char) if part.isspace() or _is_visible(part))
    return "".join(seen).casefold().translate(_LOOK_ALIKES)


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cf", "Cc", "Cs", "Mn", "Me") and ord(char) not in _SHOWN.values()
