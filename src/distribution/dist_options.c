/*-------------------------------------------------------------------------
 *
 * dist_options.c
 *	  Options of servers, user mappings and foreign tables of vecdist_fdw.
 *
 * Options that libpq understands are passed on under their own names.  What
 * decides which server answers (hosts, role, timeouts) is ours alone, so the
 * libpq options for it are not accepted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "distribution/dist_config.h"
#include "distribution/dist_options.h"
#include "vecdist_compat.h"

#define DEFAULT_PORT "5432"

typedef struct OptionDef
{
	const char *name;
	Oid			catalog;		/* catalog of the objects that have it */
	bool		libpq;			/* passed on to libpq as it is */
	bool		superuser_only; /* weakens what the server's account protects */
} OptionDef;

static const OptionDef option_defs[] = {
	{"hosts", ForeignServerRelationId, false, false},
	{"dbname", ForeignServerRelationId, true, false},
	{"application_name", ForeignServerRelationId, true, false},
	{"options", ForeignServerRelationId, false, false},
	{"sslmode", ForeignServerRelationId, true, false},
	{"sslrootcert", ForeignServerRelationId, true, false},
	{"sslcrl", ForeignServerRelationId, true, false},
	{"sslcrldir", ForeignServerRelationId, true, false},
	{"sslsni", ForeignServerRelationId, true, false},
	{"ssl_min_protocol_version", ForeignServerRelationId, true, false},
	{"ssl_max_protocol_version", ForeignServerRelationId, true, false},
	{"channel_binding", ForeignServerRelationId, true, false},
	{"requirepeer", ForeignServerRelationId, true, false},
	{"gssencmode", ForeignServerRelationId, true, false},
	{"krbsrvname", ForeignServerRelationId, true, false},
	{"keepalives", ForeignServerRelationId, true, false},
	{"keepalives_idle", ForeignServerRelationId, true, false},
	{"keepalives_interval", ForeignServerRelationId, true, false},
	{"keepalives_count", ForeignServerRelationId, true, false},
	{"tcp_user_timeout", ForeignServerRelationId, true, false},

	{"user", UserMappingRelationId, true, false},
	{"password", UserMappingRelationId, true, false},
	{"password_required", UserMappingRelationId, false, true},
	{"sslcert", UserMappingRelationId, true, true},
	{"sslkey", UserMappingRelationId, true, true},
	{"sslpassword", UserMappingRelationId, true, false},

	{"schema_name", ForeignTableRelationId, false, false},
	{"table_name", ForeignTableRelationId, false, false},
};

/*
 * Where we choose another default than libpq.  A machine that has vanished is
 * noticed within a minute, in waits that node_timeout does not bound; a frozen
 * process is not, because its kernel goes on answering.  Looking for Kerberos
 * credentials is slow and could lend ours away.
 */
static const struct
{
	const char *name;
	const char *value;
}			defaults[] = {
	{"keepalives_idle", "30"},
	{"keepalives_interval", "10"},
	{"keepalives_count", "3"},
	{"tcp_user_timeout", "60000"},
	{"gssencmode", "disable"},
};

static const OptionDef *find_option(const char *name, Oid catalog);
static void reject_option(const char *name, Oid catalog);
static void check_option(const OptionDef *def, DefElem *elem);
static DistHost *parse_host(const char *item);
static bool is_libpq_option(const char *name);
static void add_keyword(DistConnOptions *result, StringInfo fingerprint,
						const char *keyword, const char *value);
static char *startup_options(List *server_options);

VECDIST_FUNCTION_INFO_V1(vecdist_fdw_validator);

/*
 * vecdist_fdw_validator
 *		Check the options of an object of the wrapper as it is created.
 */
Datum
vecdist_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	bool		has_hosts = false;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);
		const OptionDef *def = find_option(elem->defname, catalog);

		if (def == NULL)
			reject_option(elem->defname, catalog);
		else
			check_option(def, elem);
		if (strcmp(elem->defname, "hosts") == 0)
			has_hosts = true;
	}

	if (catalog == ForeignServerRelationId && !has_hosts)
		ereport(ERROR,
				errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				errmsg("option \"hosts\" is required"),
				errhint("Name the servers of the worker group: OPTIONS (hosts '192.0.2.1:5432,192.0.2.2:5432')."));

	PG_RETURN_VOID();
}

static const OptionDef *
find_option(const char *name, Oid catalog)
{
	for (int i = 0; i < lengthof(option_defs); i++)
		if (option_defs[i].catalog == catalog &&
			strcmp(option_defs[i].name, name) == 0)
			return &option_defs[i];
	return NULL;
}

static void
reject_option(const char *name, Oid catalog)
{
	StringInfoData valid;

	initStringInfo(&valid);
	for (int i = 0; i < lengthof(option_defs); i++)
		if (option_defs[i].catalog == catalog)
			appendStringInfo(&valid, "%s%s", valid.len ? ", " : "",
							 option_defs[i].name);
	ereport(ERROR,
			errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			errmsg("invalid option \"%s\"", name),
			valid.len ?
			errhint("Valid options in this context are: %s.", valid.data) :
			errhint("There are no valid options in this context."));
}

/* Check the value of one option, and that the user may set it. */
static void
check_option(const OptionDef *def, DefElem *elem)
{
	if (strcmp(def->name, "hosts") == 0)
		(void) DistParseHosts(defGetString(elem));

	/*
	 * These let a role connect as the account the server runs under, or read
	 * that account's files.
	 */
	if (strcmp(def->name, "password_required") == 0)
	{
		if (!defGetBoolean(elem) && !superuser())
			ereport(ERROR,
					errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("password_required=false is superuser-only"),
					errhint("User mappings with the password_required option set to false may only be created or modified by the superuser."));
	}
	else if (def->superuser_only && !superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("option \"%s\" is superuser-only", def->name),
				errhint("User mappings with the %s option may only be created or modified by the superuser.",
						def->name));
}

List *
DistParseHosts(const char *text)
{
	List	   *result = NIL;
	char	   *copy = pstrdup(text);
	char	   *next = copy;

	while (next != NULL)
	{
		char	   *item = next;
		char	   *end;

		next = strchr(item, ',');
		if (next != NULL)
			*next++ = '\0';
		while (scanner_isspace(*item))
			item++;
		end = item + strlen(item);
		while (end > item && scanner_isspace(end[-1]))
			*--end = '\0';
		result = lappend(result, parse_host(item));
	}
	pfree(copy);
	return result;
}

/* Parse "host", "host:port", "[address]:port" or "/directory:port". */
static DistHost *
parse_host(const char *item)
{
	DistHost   *result = palloc(sizeof(DistHost));
	const char *colon;
	char	   *end;
	long		port;

	if (item[0] == '[')
	{
		const char *close = strchr(item, ']');

		if (close == NULL || close == item + 1 ||
			(close[1] != ':' && close[1] != '\0'))
			goto invalid;
		result->host = pnstrdup(item + 1, close - item - 1);
		colon = close[1] == ':' ? close + 1 : NULL;
	}
	else
	{
		colon = strrchr(item, ':');
		if (colon != NULL && item[0] != '/' && strchr(item, ':') != colon)
			goto invalid;
		result->host = colon ? pnstrdup(item, colon - item) : pstrdup(item);
	}
	result->port = pstrdup(colon ? colon + 1 : DEFAULT_PORT);

	errno = 0;
	port = strtol(result->port, &end, 10);
	if (result->host[0] == '\0' || errno != 0 || *end != '\0' ||
		end == result->port || port < 1 || port > 65535)
		goto invalid;
	return result;

invalid:
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid host \"%s\"", item),
			errhint("Write the servers of the group as 'host:port,host:port'; "
					"an IPv6 address as '[address]:port', a socket as '/directory:port'."));
	return NULL;				/* keep compiler quiet */
}

DistConnOptions *
DistGetConnOptions(Oid serverid, Oid userid)
{
	DistConnOptions *result = palloc0(sizeof(DistConnOptions));
	ForeignServer *server = GetForeignServer(serverid);
	UserMapping *mapping = GetUserMapping(userid, serverid);
	List	   *options = list_concat_copy(server->options, mapping->options);
	char	   *hosts = DistGetOption(server->options, "hosts");
	char	   *password = DistGetOption(mapping->options, "password");
	StringInfoData fingerprint;
	ListCell   *lc;

	if (hosts == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				errmsg("foreign server \"%s\" has no option \"hosts\"",
					   server->servername));

	initStringInfo(&fingerprint);
	appendStringInfoString(&fingerprint, hosts);
	result->mapping = mapping->umid;
	result->hosts = DistParseHosts(hosts);
	result->has_password = password != NULL && password[0] != '\0';
	result->password_required = !superuser_arg(userid);

	foreach(lc, options)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);

		if (is_libpq_option(elem->defname))
			add_keyword(result, &fingerprint, elem->defname,
						defGetString(elem));
		else if (strcmp(elem->defname, "password_required") == 0 &&
				 !defGetBoolean(elem))
			result->password_required = false;
	}

	/* The symmetric layout has the same names everywhere, so these default. */
	if (DistGetOption(options, "user") == NULL)
		add_keyword(result, &fingerprint, "user",
					GetUserNameFromId(userid, false));
	if (DistGetOption(options, "dbname") == NULL)
		add_keyword(result, &fingerprint, "dbname",
					get_database_name(MyDatabaseId));
	for (int i = 0; i < lengthof(defaults); i++)
		if (DistGetOption(options, defaults[i].name) == NULL)
			add_keyword(result, &fingerprint, defaults[i].name,
						defaults[i].value);

	add_keyword(result, &fingerprint, "client_encoding",
				GetDatabaseEncodingName());
	add_keyword(result, &fingerprint, "fallback_application_name",
				DistApplicationName(0));
	add_keyword(result, &fingerprint, "options",
				startup_options(server->options));
	appendStringInfoChar(&fingerprint, result->password_required ? 'p' : '-');
	result->fingerprint = fingerprint.data;

	if (result->password_required && !result->has_password)
		ereport(ERROR,
				errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				errmsg("password is required"),
				errdetail("Non-superusers must provide a password in the user mapping for server \"%s\".",
						  server->servername),
				errhint("Add the option password, or let a superuser set password_required to false."));
	return result;
}

static bool
is_libpq_option(const char *name)
{
	for (int i = 0; i < lengthof(option_defs); i++)
		if (strcmp(option_defs[i].name, name) == 0)
			return option_defs[i].libpq;
	return false;
}

static void
add_keyword(DistConnOptions *result, StringInfo fingerprint,
			const char *keyword, const char *value)
{
	result->keywords = lappend(result->keywords, pstrdup(keyword));
	result->values = lappend(result->values, pstrdup(value));
	appendStringInfo(fingerprint, "\n%s=%s", keyword, value);
}

/*
 * Settings of the session on the worker, for the startup packet.  Ours stand
 * behind the user's, so that they win.
 */
static char *
startup_options(List *server_options)
{
	char	   *own = DistGetOption(server_options, "options");

	return psprintf("%s%s"
					"-c search_path=pg_catalog,\\ pg_temp "
					"-c DateStyle=ISO "
					"-c IntervalStyle=postgres "
					"-c extra_float_digits=3 "
					"-c TimeZone=GMT "
					"-c synchronize_seqscans=off "
					"-c client_connection_check_interval=500 "
					"-c vecdist.hop=%d",
					own ? own : "", own ? " " : "", DistHop + 1);
}

/*
 * Names are cut at 63 bytes, so the server's has 15: those are left by the
 * longest pid and the longest query identifier.
 */
char *
DistApplicationName(int64 query_id)
{
	char	   *port = psprintf("port %d", PostPortNumber);
	char	   *name = psprintf(DIST_APPLICATION_NAME_PREFIX "%.15s/%d",
								cluster_name[0] != '\0' ? cluster_name : port,
								MyProcPid);

	if (query_id != 0)
		name = psprintf("%s query=" INT64_FORMAT, name, query_id);
	return name;
}

char *
DistGetOption(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);

		if (strcmp(elem->defname, name) == 0)
			return defGetString(elem);
	}
	return NULL;
}
