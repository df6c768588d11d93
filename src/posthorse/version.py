"""The version of Posthorse."""

VERSION = "0.1.0"
