"""SEARCH, SORT, THREAD and what the extensions make of them."""
