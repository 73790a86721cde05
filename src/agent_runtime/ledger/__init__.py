"""What calls cost, what may still be spent, and what is set aside while a call runs."""
