"""The formats by name; a new one is one file, one line here and one test."""

from filtering.formats.alpaca import ALPACA
from filtering.formats.format import Format
from filtering.formats.hh import HH
from filtering.formats.prefloop import PREFLOOP
from filtering.formats.sharegpt import SHAREGPT
from filtering.formats.trl import TRL
from filtering.formats.trl_conversational import TRL_CONVERSATIONAL
from filtering.formats.trl_conversational_implicit import TRL_CONVERSATIONAL_IMPLICIT
from filtering.formats.trl_implicit import TRL_IMPLICIT
from filtering.formats.ultrafeedback_binarized import ULTRAFEEDBACK_BINARIZED

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        PREFLOOP,
        TRL,
        TRL_IMPLICIT,
        TRL_CONVERSATIONAL,
        TRL_CONVERSATIONAL_IMPLICIT,
        HH,
        ULTRAFEEDBACK_BINARIZED,
        SHAREGPT,
        ALPACA,
    )
}
