"""Back-tests: the real steps walk through a log of events as it happened, and their forecasts are scored against what
came, beside simple methods that knew no more. Pure; reading files and what needs optional packages is in
``streams.backtest``."""
