"""Which server, which location, and who may pass.

    location_server -> realip -> rewrite (server) -> location_locate -> rewrite (location) -> limit_req -> access -> its handler

location.pyx   server and location          rewrite.pyx   set, rewrite, return, break, if
regex.pyx      PCRE2                        names.pxd     server names and keys of maps: exact, wildcards, expressions
access.pyx     allow, deny, realip          cidr.pxd, realip.pxd   networks, X-Forwarded-For
limit_req.pyx, limit_req.pxd   leaky buckets       variables/    what a $name stands for

Others call: location_server, location_route, rewrite_run, access_admits, realip_apply, limit_passes, var_*, regex_match,
dict_find.

Prefixes: access_ cidr_ dict_ limit_ location_ names_ realip_ regex_ rewrite_ var_
"""
