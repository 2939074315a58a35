"""What a site's own log teaches: the booking curve, who comes, what sessions use, how late suppliers are, and how good
the planner's own forecasts have been. Pure and small; O(1) per event, heavier work once per site-day."""
