"""The operations on a store, each written once for both databases and for sync and async drivers."""
