"""The user's own connections: one adapter for each library, and the transactions that join them."""
