"""`aybiza key`: the platform operator's API key, for whoever may read its file."""

from infra.apps.installation import operator_key
from infra.apps.terminal import results
from infra.settings import load_settings


def key() -> None:
    """Print the API key of the platform's operator, who creates organisations. It opens everything: keep it to yourself."""
    results.print(operator_key(load_settings().wrapping_key_file.parent), soft_wrap=True, markup=False, highlight=False)
