"""Delivery: messages to subscribers by mail or on paper, once each, and what became of them."""
