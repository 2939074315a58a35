"""The domain, pure: no I/O, no clock, no Faust. Bookings in; requirements, forecasts, alerts and proposals out."""
