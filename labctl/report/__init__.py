"""What people see of a run: terminal, page, Markdown and JUnit, all made from the verdict and the evidence."""
