"""SPF: may this host send for that domain? (RFC 7208)"""
