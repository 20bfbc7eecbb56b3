"""Which scripts a text is written in, and which language, as far as pairs are compared by them."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.measured import Bools

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]

# First code point of each stretch and the script of its letters. Han, kana and Bopomofo are one, as Japanese mixes
# them; "" are letters of no script, styled Latin ones of mathematics among them.
_STRETCHES = [
    (0x0000, "latin"), (0x0250, ""), (0x0370, "greek"), (0x0400, "cyrillic"), (0x0530, "armenian"), (0x0590, "hebrew"),
    (0x0600, "arabic"), (0x0700, "syriac"), (0x0750, "arabic"), (0x0780, "thaana"), (0x07C0, ""), (0x0860, "arabic"),
    (0x0900, "devanagari"), (0x0980, "bengali"), (0x0A00, "gurmukhi"), (0x0A80, "gujarati"), (0x0B00, "oriya"),
    (0x0B80, "tamil"), (0x0C00, "telugu"), (0x0C80, "kannada"), (0x0D00, "malayalam"), (0x0D80, "sinhala"),
    (0x0E00, "thai"), (0x0E80, "lao"), (0x0F00, "tibetan"), (0x1000, "myanmar"), (0x10A0, "georgian"),
    (0x1100, "hangul"), (0x1200, "ethiopic"), (0x13A0, ""), (0x1780, "khmer"), (0x1800, "mongolian"), (0x18B0, ""),
    (0x1E00, "latin"), (0x1F00, "greek"), (0x2000, ""), (0x2E80, "han"), (0x3130, "hangul"), (0x3190, "han"),
    (0xA000, ""), (0xAC00, "hangul"), (0xD7B0, ""), (0xF900, "han"), (0xFB00, "latin"), (0xFB13, "armenian"),
    (0xFB1D, "hebrew"), (0xFB50, "arabic"), (0xFE00, ""), (0xFE70, "arabic"), (0xFF00, "latin"), (0xFF65, "han"),
    (0xFFA0, "hangul"), (0xFFE0, ""), (0x20000, "han"), (0x32000, ""),
]  # fmt: skip
SCRIPTS = sorted({script for _, script in _STRETCHES} - {""})
_STARTS = np.array([start for start, _ in _STRETCHES])
_SCRIPT_OF = np.array([SCRIPTS.index(script) if script else len(SCRIPTS) for _, script in _STRETCHES])
# A prompt with one of these may ask for another language than its own; missing one costs a pair, so the list is wide.
_NAMES_LANGUAGE = re.compile(
    r"translat|translit|language|alphabet|script\b|character|kanji|pinyin|cyrillic|idiom|bilingual|"
    r"\b(?:english|latin|greek|russian|ukrain|bulgar|serb|macedon|belarus|armenian|hebrew|yiddish|arab|persian|farsi|urdu|"
    r"pashto|kurd|uyghur|hind[iu]|sanskrit|marathi|nepal|bengal|bangla|punjab|gujarat|odia|oriya|tamil|telugu|kannada|"
    r"malayalam|sinhal|thai|lao\b|tibet|burm|myanmar|georgian|korea|hangul|amhar|ethiop|khmer|cambod|mongol|chin(?:a|ese)|"
    r"mandarin|canton|japan|french|german|spanish|ital|portug|dutch|polish|czech|turk|vietnam|indones|swed|norw|danish|"
    r"finn|hungar|roman)|traduc|tradui|traduz|übersetz|vertal|tłumacz|переве|перевод|переклад|англ|русск|μετ[αά]φρ|"
    r"αγγλικ|תרגמ|תרגום|אנגלית|ترجم|إنجليز|انگلیس|انگریز|अनुवाद|अंग्रे|अँग्रे|অনুবাদ|ইংরেজ|மொழிபெயர்|ஆங்கில|అనువ|ఇంగ్లీష్|แปล|"
    r"อังกฤษ|번역|영어|翻译|翻譯|翻訳|译成|譯成|訳し|英文|英语|英語|中文|汉语|漢語|日语|日文|日本語|[语語]",
    re.IGNORECASE,
)
_NO_LETTERS = re.compile(r"[\W\d_]+")


# Whatever stands outside these blocks of Latin letters, punctuation, symbols and emoji.
_NOT_LATIN = r"[^\x00-\x{24F}\x{300}-\x{36F}\x{1E00}-\x{1EFF}\x{2000}-\x{2BFF}\x{FE00}-\x{FE0F}\x{FFF0}-\x{1FAFF}]"


def has_other_scripts(texts: pa.ChunkedArray) -> Bools:
    """Say quickly which texts may have letters of other scripts than Latin; where not, count_scripts finds none."""
    return pc.match_substring_regex(texts, _NOT_LATIN).to_numpy()


def count_scripts(text: str) -> Ints:
    """Count a text's letters by script, in the order of SCRIPTS; marks above and below letters do not count."""
    letters = _NO_LETTERS.sub("", text)
    if letters.isascii():
        return np.array([len(letters) if script == "latin" else 0 for script in SCRIPTS])
    points = np.frombuffer(letters.encode("utf-32-le", "replace"), dtype=np.uint32)
    scripts = _SCRIPT_OF[np.searchsorted(_STARTS, points, side="right") - 1]
    return np.bincount(scripts, minlength=len(SCRIPTS) + 1)[: len(SCRIPTS)]


def names_language(prompt: str) -> bool:
    """Say whether a prompt speaks of translating, of a language or of a script: then its answer may be in another."""
    return _NAMES_LANGUAGE.search(prompt) is not None


def load_language_finder() -> Callable[[str], tuple[str, float]]:
    """Load py3langid: gives a text's language (ISO 639-1) and its probability in [0, 1] among 97.

    Raises:
        ModuleNotFoundError: py3langid is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'mismatch.language: py3langid is not installed: pip install "prefloop[language]", or leave language null'
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify
