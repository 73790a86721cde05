"""What tokens cost: unit prices of models, where they come from, and the price of one response."""
