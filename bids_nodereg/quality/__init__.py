"""How good a registration is: measures, figures and reports."""
