"""Laws: forms with numbers, published or fitted, and the allocation of a budget by them."""
