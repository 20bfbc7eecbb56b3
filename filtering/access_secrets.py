"""Counts of access keys and private keys in texts, by detect-secrets' patterns of what services issue.

Left out are its detectors that guess: random-looking strings, words such as "password", Artifactory's prefixes, which
ordinary words share, and public IP addresses. None of those used asks the network.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any  # detect-secrets' plugins, where the extra may be missing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.personal_data import cut

_DETECTORS = {
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "cloudant": "CloudantDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "ibm_cloud_iam": "IbmCloudIamDetector",
    "ibm_cos_hmac": "IbmCosHmacDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "softlayer": "SoftlayerDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
# Found in every line with a finding: a long word, a private key's title, a user and a password in an address.
_HINT = r"(?i)[\w+/=.:@-]{20}|PRIVATE KEY|PuTTY-User-Key-File|://\S+:\S+@|_authToken|xox[a-z]-|eyJ"
# The documentation of AWS and others writes it into keys that open nothing.
_EXAMPLE = "example"


def count_secrets(texts: pa.ChunkedArray) -> np.ndarray:
    """Count the different secrets in each text; those that call themselves an example are not counted.

    Raises:
        ImportError: The extra `pii` is not installed.
    """
    counts = np.zeros(len(texts), dtype=np.uint32)
    hinted = np.flatnonzero(pc.match_substring_regex(texts, _HINT).to_numpy())
    for row, text in zip(hinted.tolist(), texts.take(pa.array(hinted)).to_pylist(), strict=True):
        lines = pa.array(text.splitlines(), pa.large_string())
        lines = lines.filter(pc.match_substring_regex(lines, _HINT)).to_pylist()
        counts[row] = len({secret for line in lines for secret in _find(line) if _EXAMPLE not in secret.lower()})
    return counts


def _find(line: str) -> Iterator[str]:
    for piece in cut(line):
        for detector in _detectors():
            yield from detector.analyze_string(piece.text)


@cache
def _detectors() -> list[Any]:
    try:
        modules = {name: importlib.import_module(f"detect_secrets.plugins.{name}") for name in _DETECTORS}
    except ImportError as error:
        raise ImportError('the private filter needs detect-secrets: pip install "prefloop[pii]"') from error
    return [getattr(modules[name], detector)() for name, detector in _DETECTORS.items()]
