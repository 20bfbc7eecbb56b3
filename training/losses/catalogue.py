"""All preference losses by the name that recipes use."""

from typing import Annotated

from pydantic import Field

from training.losses.batchwise import AOT, AOT_UNPAIRED, BETA_DPO, AotConfig, AotUnpairedConfig, BetaDpoConfig
from training.losses.length_normalised import (
    CPO_SIMPO,
    LN_DPO,
    ORPO,
    SIMPO,
    CpoSimpoConfig,
    LnDpoConfig,
    OrpoConfig,
    SimpoConfig,
)
from training.losses.logistic import DPO, LD_DPO, RPO, WPO, DpoConfig, LdDpoConfig, RpoConfig, WpoConfig
from training.losses.loss import Loss
from training.losses.noisy_labels import CDPO, EXO, ROBUST, SOFT_DPO, CdpoConfig, ExoConfig, RobustConfig, SoftDpoConfig
from training.losses.offsets import (
    DPOP,
    MARGIN_DPO,
    MODPO,
    ODPO,
    R_DPO,
    DpopConfig,
    MarginDpoConfig,
    ModpoConfig,
    OdpoConfig,
    RDpoConfig,
)
from training.losses.one_sided import (
    APO_DOWN,
    APO_ZERO,
    BCO,
    KTO,
    NCA,
    ApoDownConfig,
    ApoZeroConfig,
    BcoConfig,
    KtoConfig,
    NcaConfig,
)
from training.losses.reference_free import (
    CPO,
    PREFERRED_FT,
    SLIC_HF,
    UNLIKELIHOOD,
    CpoConfig,
    PreferredFtConfig,
    SlicHfConfig,
    UnlikelihoodConfig,
)
from training.losses.self_play import SPPO, SPPO_HARD, SppoConfig, SppoHardConfig
from training.losses.shapes import DISCOPOP, HINGE, IPO, DiscopopConfig, HingeConfig, IpoConfig

LossConfig = Annotated[
    DpoConfig
    | RpoConfig
    | LdDpoConfig
    | WpoConfig
    | CdpoConfig
    | RobustConfig
    | SoftDpoConfig
    | ExoConfig
    | OdpoConfig
    | MarginDpoConfig
    | RDpoConfig
    | DpopConfig
    | ModpoConfig
    | HingeConfig
    | IpoConfig
    | DiscopopConfig
    | LnDpoConfig
    | SimpoConfig
    | CpoSimpoConfig
    | OrpoConfig
    | CpoConfig
    | SlicHfConfig
    | PreferredFtConfig
    | UnlikelihoodConfig
    | KtoConfig
    | BcoConfig
    | ApoZeroConfig
    | ApoDownConfig
    | NcaConfig
    | SppoConfig
    | SppoHardConfig
    | AotConfig
    | AotUnpairedConfig
    | BetaDpoConfig,
    Field(discriminator="name"),
]

LOSSES: dict[str, Loss] = {
    "dpo": DPO,
    "rpo": RPO,
    "ld_dpo": LD_DPO,
    "wpo": WPO,
    "cdpo": CDPO,
    "robust": ROBUST,
    "soft_dpo": SOFT_DPO,
    "exo": EXO,
    "odpo": ODPO,
    "margin_dpo": MARGIN_DPO,
    "r_dpo": R_DPO,
    "dpop": DPOP,
    "modpo": MODPO,
    "hinge": HINGE,
    "ipo": IPO,
    "discopop": DISCOPOP,
    "ln_dpo": LN_DPO,
    "simpo": SIMPO,
    "cpo_simpo": CPO_SIMPO,
    "orpo": ORPO,
    "cpo": CPO,
    "slic_hf": SLIC_HF,
    "preferred_ft": PREFERRED_FT,
    "unlikelihood": UNLIKELIHOOD,
    "kto": KTO,
    "bco": BCO,
    "apo_zero": APO_ZERO,
    "apo_down": APO_DOWN,
    "nca": NCA,
    "sppo": SPPO,
    "sppo_hard": SPPO_HARD,
    "aot": AOT,
    "aot_unpaired": AOT_UNPAIRED,
    "beta_dpo": BETA_DPO,
}
