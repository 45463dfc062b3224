"""Pure rules of the market: capability match, price, bid score, selection, stake, payment."""
