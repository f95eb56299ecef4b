"""Random graphs, and what they do in LangGraph and served."""
