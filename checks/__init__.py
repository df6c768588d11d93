"""Checks of this repository's own text and packages, for `make check` and `make release`; they import no Posthorse."""
