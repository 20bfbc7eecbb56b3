"""Drop pairs with personal data or access keys in a text: a model may learn them by heart and tell them to anybody.

Presidio finds what has a format, detect-secrets what services issue as keys (`filtering.personal_data` and
`filtering.access_secrets`); both come with the extra `pii`. What is reserved for examples is not counted. 15 of 6,440
published answers of 8 models have such data, all of it addresses of e-mail, made up or taken from the prompt; 6 of
1,200 pairs of HH-RLHF have a telephone number, an address or a social security number. So it is an option, not a
preset's. The ledger quotes nothing of these pairs.

Left out: names, places and dates, which need a language model, and masking, which would change answers.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Self  # Any: JSON values

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from filtering.access_secrets import count_secrets
from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured
from filtering.personal_data import Entity, count_personal
from filtering.texts import prompt_texts

Text = Literal["prompt", "chosen", "rejected"]

_PACKAGES = ("presidio-analyzer", "phonenumbers", "tldextract", "detect-secrets")


class PrivateConfig(FilterConfig, frozen=True):
    """Drop pairs with personal data or access keys."""

    name: Literal["private"]
    texts: tuple[Text, ...] = Field(default=("prompt", "chosen", "rejected"), min_length=1)
    """Which texts are searched; a rejected answer is trained on as well."""
    entities: tuple[Entity, ...] = ("email", "phone", "credit_card", "iban", "us_ssn", "crypto")
    """Personal data that is looked for; `ip_address` is left out because most in answers stand for any address."""
    secrets: bool = True
    """Whether access keys of services and private keys are looked for."""
    max_personal: int = Field(default=0, ge=0)
    """Most pieces of personal data that a text may have; raising it drops fewer pairs."""

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if not self.entities and not self.secrets:
            raise ValueError("entities is [] and secrets is false: nothing would be found, so leave the filter out")
        return self


def measure(pairs: pa.Table, config: PrivateConfig) -> pa.Table:
    """Count what is found in each text, by kind.

    Raises:
        ImportError: The extra `pii` is not installed.
    """
    facts = dict[str, np.ndarray]()
    for name in config.texts:
        texts = prompt_texts(pairs["messages"]) if name == "prompt" else pairs[name]
        for entity in config.entities:
            facts[f"{name}_{entity}"] = count_personal(texts, entity)
        if config.secrets:
            facts[f"{name}_secrets"] = count_secrets(texts)
    return pa.table(facts)


def decide(facts: Facts, config: PrivateConfig) -> list[Measured]:
    """Hold the counts of each text against the limits."""
    found = list[Measured]()
    for name in config.texts:
        if config.secrets:
            found.append(_hold(facts.floats(f"{name}_secrets"), 0, "secret"))
        counts = [facts.floats(f"{name}_{entity}") for entity in config.entities]
        if counts:
            found.append(_hold(np.sum(counts, axis=0), config.max_personal, "personal_data"))
    return found


def _hold(counts: np.ndarray, most: int, reason: str) -> Measured:
    # A pair with none is no near miss.
    values = np.where(counts > 0, counts, np.nan)
    return Measured(counts <= most, values, most, reason, "none")


def _measured_by(config: PrivateConfig) -> dict[str, Any]:
    try:
        versions = {package: version(package) for package in _PACKAGES}
    except PackageNotFoundError as error:
        raise ImportError(f'the private filter needs {error.name}: pip install "prefloop[pii]"') from error
    return {"texts": config.texts, "entities": config.entities, "secrets": config.secrets, "versions": versions}


PRIVATE = Filter(PrivateConfig, ("messages", "chosen", "rejected"), measure, decide, _measured_by)
