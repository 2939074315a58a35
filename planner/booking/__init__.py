"""The booking step's parts: what is kept of a booking, which event may follow which, and what is told to sites."""
