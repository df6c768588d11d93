"""Arguments of functions: bound to the signature, checked by their annotations, stored by parameter name."""
