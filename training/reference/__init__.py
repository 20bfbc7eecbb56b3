"""The reference policy's log-probs: whose, from where, and where they are kept."""
