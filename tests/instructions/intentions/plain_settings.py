"""Intention settings with the defaults of LCRec.yaml and a test's changes."""

from recbole_lcrec.config.settings import IntentionSettings


def settings_of(**changes):
    given = {
        "source": "auto",
        "file": None,
        "review_fields": ("summary", "review"),
        "per_user": 1,
        "sentences": 2,
        "llm_model": None,
        "llm_base_url": None,
        "llm_key_variable": "OPENAI_API_KEY",
        "llm_parallel": 2,
        "llm_requests_per_minute": None,
        "llm_timeout": 5.0,
        "llm_retries": 0,
        "llm_max_tokens": 50,
    }
    return IntentionSettings(**{**given, **changes})
