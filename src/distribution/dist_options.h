/*-------------------------------------------------------------------------
 *
 * dist_options.h
 *	  Options of servers, user mappings and foreign tables of vecdist_fdw.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_OPTIONS_H
#define DIST_OPTIONS_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* One server of a worker group. */
typedef struct DistHost
{
	char	   *host;			/* name, address, or directory of a socket */
	char	   *port;
} DistHost;

/* Where and how to connect for one user, as libpq takes it. */
typedef struct DistConnOptions
{
	Oid			mapping;		/* the user mapping */
	List	   *hosts;			/* of DistHost, at least one */
	List	   *keywords;		/* of char *; no hosts among them */
	List	   *values;			/* of char *, as many */
	bool		has_password;	/* the user mapping names a password */
	bool		password_required;	/* must the worker ask for it? */
	char	   *fingerprint;	/* equal for equal options */
} DistConnOptions;

/*
 * Parse the server option "hosts": 'host:port,host:port,...'.  Result in the
 * current memory context; raises 22023 if the text is not well formed.
 */
extern List *DistParseHosts(const char *text);

/*
 * What the catalogs say about connecting 'userid' to a server, in the current
 * memory context.  Raises errors for a missing server or user mapping, and
 * for a mapping that may not serve this user.
 */
extern DistConnOptions *DistGetConnOptions(Oid serverid, Oid userid);

/*
 * The application_name of our sessions on workers: "vecdist from=<server>/<pid>",
 * with " query=<identifier>" unless that is 0, in the current memory context.
 */
extern char *DistApplicationName(int64 query_id);
#define DIST_APPLICATION_NAME_PREFIX "vecdist from="

/* Value of an option in a list of DefElem, or NULL. */
extern char *DistGetOption(List *options, const char *name);

#endif							/* DIST_OPTIONS_H */
