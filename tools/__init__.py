"""Tools that run outside a kernel only; the bundle has none of them."""
