"""What the product does, in imperatives. A service checks the rules and changes rows; it never commits."""
