"""What every log must do, checked on each of them."""
