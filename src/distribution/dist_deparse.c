/*-------------------------------------------------------------------------
 *
 * dist_deparse.c
 *	  Which expressions a worker may evaluate, and their text.
 *
 * A worker computes the same result as we would if it runs the same immutable
 * functions on the same values under the same collations.  So a subexpression
 * is in one of two classes:
 *
 *	text	it goes to the worker as SQL: columns of the relation, constants,
 *			and built-in or our own immutable functions and operators
 *	value	it is computed here, and its value goes to the worker as a
 *			parameter: Params, columns of other relations, and whatever
 *			else does not depend on a row of the relation (now(), say)
 *
 * A computed value is computed before the first row is asked for.  Below AND,
 * OR, CASE and COALESCE that could raise an error that the condition around it
 * would have prevented, so there only Params and columns become values.
 *
 * Collations need no transport of their own.  The worker's parser derives them
 * from the columns, whose collations are the same there, by the rules that
 * ours followed; we only refuse the trees in which the text would not say
 * everything that the tree does (see collation_is_visible).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "distribution/dist_deparse.h"
#include "distribution/dist_local_setting.h"

/* One question of DistIsShippable or one run of DistDeparseExpr. */
typedef struct DeparseContext
{
	Index		varno;			/* the relation's range table index */
	Oid			relid;			/* its OID on this server */
	bool		conditional;	/* below AND, OR, CASE or COALESCE */
	const char *why;			/* the first reason found, or NULL */

	/* Only while deparsing. */
	List	   *params;			/* values to send, in order */
	int			first_param;	/* number of the first of them */
	bool		with_casts;		/* print "::type" after each */
} DeparseContext;

/* An object known to belong to our extension. */
typedef struct OwnObject
{
	Oid			classid;
	Oid			objid;
} OwnObject;

/*
 * Objects found to belong to our extension, because asking pg_depend on every
 * planning is slow.  Members do not leave an extension but by being dropped,
 * and OIDs come back only after four billion others, so nothing is ever
 * removed.
 */
static HTAB *own_objects = NULL;

static bool is_shippable(Node *node, DeparseContext *context);
static bool is_text(Node *node, DeparseContext *context);
static bool is_not_shippable_walker(Node *node, void *context);
static bool node_is_text(Node *node, DeparseContext *context);
static bool var_is_text(Var *var, DeparseContext *context);
static bool const_is_text(Const *con, DeparseContext *context);
static bool collation_is_visible(Node *node, DeparseContext *context);
static bool cast_keeps_collation(Oid collation, Node *arg);
static bool collation_is_everywhere(Oid collation, DeparseContext *context);
static bool is_value(Node *node, DeparseContext *context);
static bool is_computable(Node *node, DeparseContext *context);
static bool is_not_computable_walker(Node *node, void *context);
static bool operator_is_text(Oid opno, DeparseContext *context);
static bool function_is_text(Oid funcid, DeparseContext *context);
static bool type_is_everywhere(Oid typid, DeparseContext *context);
static bool column_has_type(Oid relid, Oid typid);
static bool column_has_collation(Oid relid, Oid collation);
static bool object_is_everywhere(Oid classid, Oid objid);
static bool is_reg_type(Oid typid);
static bool enters_condition(Node *node);
static Node *replace_values_mutator(Node *node, void *context);
static bool is_extension_constant(Node *node);
static Node *make_param(Node *value, DeparseContext *context);
static bool refuse(DeparseContext *context, const char *why);

bool
DistIsShippable(Expr *expr, Index varno, Oid relid, const char **why)
{
	DeparseContext context = {.varno = varno,.relid = relid};
	bool		result = is_shippable((Node *) expr, &context);

	if (why != NULL)
		*why = result ? NULL : context.why;
	return result;
}

char *
DistDeparseExpr(Expr *expr, Index varno, Oid relid, const char *alias,
				List **params, int first_param, bool with_casts)
{
	DeparseContext context = {.varno = varno,.relid = relid};
	Node	   *tree;
	char	   *result;
	int			nestlevel;

	context.params = *params;
	context.first_param = first_param;
	context.with_casts = with_casts;

	/* The relation is the only member of ruleutils' range table. */
	tree = replace_values_mutator((Node *) expr, &context);
	nestlevel = DistPushTextSettings();

	/*
	 * Implicit casts stay implicit: written out they would be explicit ones,
	 * and varchar(n) would cut a value where an assignment raises an error.
	 */
	result = deparse_expression(tree, deparse_context_for(alias, relid),
								true, false);
	AtEOXact_GUC(true, nestlevel);

	*params = context.params;
	return result;
}

int
DistPushTextSettings(void)
{
	static const char *const settings[] = {
		/* Named last, so that no temporary object hides another one. */
		"search_path=pg_catalog, pg_temp",
		"DateStyle=ISO",
		"IntervalStyle=postgres",
		"extra_float_digits=3"
	};
	int			nestlevel = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		DistSetLocally(settings[i]);
	return nestlevel;
}

char *
DistTypeName(Oid typid, int32 typmod)
{
	return format_type_extended(typid, typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN |
								FORMAT_TYPE_FORCE_QUALIFY);
}

bool
DistTypeIsBinarySafe(Oid typid)
{
	Oid			elemtype = get_element_type(typid);
	HeapTuple	tuple;
	bool		result;

	/* An array carries the OID of its element type. */
	if (OidIsValid(elemtype))
		return elemtype < FirstGenbkiObjectId &&
			DistTypeIsBinarySafe(elemtype);

	switch (get_typtype(typid))
	{
		case TYPTYPE_DOMAIN:
			return DistTypeIsBinarySafe(getBaseType(typid));
		case TYPTYPE_RANGE:
			return DistTypeIsBinarySafe(get_range_subtype(typid));
		case TYPTYPE_MULTIRANGE:
			return DistTypeIsBinarySafe(get_multirange_range(typid));
		case TYPTYPE_ENUM:
			return true;		/* travels as its label */
		case TYPTYPE_BASE:
			break;
		default:
			return false;		/* a row carries the OIDs of column types */
	}

	if (is_reg_type(typid))
		return false;			/* travels as an OID */

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", typid);
	result = OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typsend) &&
		OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typreceive);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * May 'node' go to the worker, as text or as a value?
 */
static bool
is_shippable(Node *node, DeparseContext *context)
{
	if (node == NULL)
		return true;
	if (is_value(node, context))
		return type_is_everywhere(exprType(node), context);
	return is_text(node, context) || is_computable(node, context);
}

/*
 * May 'node' go to the worker as text, some of its parts perhaps as values?
 */
static bool
is_text(Node *node, DeparseContext *context)
{
	bool		save_conditional = context->conditional;
	bool		result;

	check_stack_depth();
	if (!node_is_text(node, context))
		return false;

	context->conditional |= enters_condition(node);
	result = !expression_tree_walker(node, is_not_shippable_walker, context);
	context->conditional = save_conditional;
	return result;
}

static bool
is_not_shippable_walker(Node *node, void *context)
{
	return !is_shippable(node, (DeparseContext *) context);
}

/*
 * May this kind of expression, its operator or function, its type and its
 * collation go to the worker as text?  Its arguments are the caller's affair.
 */
static bool
node_is_text(Node *node, DeparseContext *context)
{
	bool		ok;

	switch (nodeTag(node))
	{
		case T_List:
			return true;		/* not an expression of its own */
		case T_Var:
			return var_is_text((Var *) node, context);
		case T_Const:
			return const_is_text((Const *) node, context);

		case T_FuncExpr:
			ok = !((FuncExpr *) node)->funcretset &&
				function_is_text(((FuncExpr *) node)->funcid, context);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			ok = operator_is_text(((OpExpr *) node)->opno, context);
			break;
		case T_ScalarArrayOpExpr:
			ok = operator_is_text(((ScalarArrayOpExpr *) node)->opno,
								  context);
			break;
		case T_RowCompareExpr:
			{
				ListCell   *lc;

				ok = true;
				foreach(lc, ((RowCompareExpr *) node)->opnos)
					ok = ok && operator_is_text(lfirst_oid(lc), context);
				break;
			}
		case T_CoerceViaIO:
			{
				CoerceViaIO *coerce = (CoerceViaIO *) node;
				Oid			output;
				Oid			input;
				Oid			ioparam;
				bool		varlena;

				getTypeOutputInfo(exprType((Node *) coerce->arg),
								  &output, &varlena);
				getTypeInputInfo(coerce->resulttype, &input, &ioparam);
				ok = function_is_text(output, context) &&
					function_is_text(input, context);
				break;
			}
		case T_SubscriptingRef:
			ok = ((SubscriptingRef *) node)->refassgnexpr == NULL;
			break;

		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_RelabelType:
		case T_CoerceToDomain:
		case T_ArrayCoerceExpr:
		case T_ArrayExpr:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_CollateExpr:
			ok = true;
			break;

		default:
			return refuse(context, "expression of a kind that only the coordinator evaluates");
	}

	return ok && type_is_everywhere(exprType(node), context) &&
		collation_is_visible(node, context);
}

/*
 * Columns of the relation and its ctid.  The other system columns differ
 * between the worker's table and our foreign table, a whole row has another
 * row type there.
 */
static bool
var_is_text(Var *var, DeparseContext *context)
{
	if (var->varno != context->varno || var->varlevelsup != 0)
		return refuse(context, "value whose collation is not the default one");
	return var->varattno > 0 ||
		var->varattno == SelfItemPointerAttributeNumber ||
		refuse(context, "system column or whole row");
}

/*
 * Constants whose type and collation the worker has.  The OID in a reg* type
 * names a local object, which the worker need not have.
 */
static bool
const_is_text(Const *con, DeparseContext *context)
{
	Oid			elemtype = get_element_type(con->consttype);

	if (is_reg_type(OidIsValid(elemtype) ? elemtype : con->consttype) &&
		!con->constisnull &&
		(OidIsValid(elemtype) ||
		 DatumGetObjectId(con->constvalue) >= FirstGenbkiObjectId))
		return refuse(context, "reference to a local object");
	return type_is_everywhere(con->consttype, context) &&
		collation_is_everywhere(con->constcollid, context);
}

/*
 * Does the text of 'node' lead the worker's parser to the same collation?
 *
 * Simplification turns COLLATE clauses into RelabelTypes, which ruleutils
 * prints as plain casts; such a cast is refused.  COLLATE itself is printed,
 * so the collation must exist on the worker.
 */
static bool
collation_is_visible(Node *node, DeparseContext *context)
{
	Expr	   *arg;

	switch (nodeTag(node))
	{
		case T_CollateExpr:
			return collation_is_everywhere(((CollateExpr *) node)->collOid,
										   context);
		case T_RelabelType:
			arg = ((RelabelType *) node)->arg;
			break;
		case T_CoerceViaIO:
			arg = ((CoerceViaIO *) node)->arg;
			break;
		case T_CoerceToDomain:
			arg = ((CoerceToDomain *) node)->arg;
			break;
		case T_ArrayCoerceExpr:
			arg = ((ArrayCoerceExpr *) node)->arg;
			break;
		default:
			return true;
	}
	return cast_keeps_collation(exprCollation(node), (Node *) arg) ||
		refuse(context, "collation differs from that of the column");
}

/*
 * Is 'collation' what the parser gives to a cast of 'arg': that of the
 * argument, or the type's default one if the argument has none?
 */
static bool
cast_keeps_collation(Oid collation, Node *arg)
{
	Oid			inner = exprCollation(arg);

	return !OidIsValid(collation) || collation == inner ||
		(!OidIsValid(inner) && collation == DEFAULT_COLLATION_OID);
}

/*
 * Collations of operating system and ICU need not exist on the worker, but
 * those of the relation's columns do.
 */
static bool
collation_is_everywhere(Oid collation, DeparseContext *context)
{
	return !OidIsValid(collation) ||
		collation == DEFAULT_COLLATION_OID ||
		collation == C_COLLATION_OID ||
		collation == POSIX_COLLATION_OID ||
		column_has_collation(context->relid, collation) ||
		refuse(context, "collation that the worker may not have");
}

/*
 * Is 'node' a Param or a column of another relation?  One whose collation is
 * not the default one would lose it on the way, so it is none; nor can it be
 * text, hence it is not shippable.
 */
static bool
is_value(Node *node, DeparseContext *context)
{
	switch (nodeTag(node))
	{
		case T_Param:
			if (((Param *) node)->paramkind != PARAM_EXTERN &&
				((Param *) node)->paramkind != PARAM_EXEC)
				return false;
			break;
		case T_Var:
			if (((Var *) node)->varlevelsup != 0 ||
				((Var *) node)->varno == context->varno)
				return false;
			break;
		default:
			return false;
	}
	return !OidIsValid(exprCollation(node)) ||
		exprCollation(node) == DEFAULT_COLLATION_OID;
}

/*
 * Can 'node', which cannot go as text, be computed here before the scan?
 */
static bool
is_computable(Node *node, DeparseContext *context)
{
	if (context->conditional || IsA(node, List))
		return false;
	if (is_not_computable_walker(node, context) ||
		contain_volatile_functions(node))
		return false;
	if (OidIsValid(exprCollation(node)) &&
		exprCollation(node) != DEFAULT_COLLATION_OID)
		return false;
	return type_is_everywhere(exprType(node), context);
}

/* Does 'node' depend on the relation's rows or on the place it stands at? */
static bool
is_not_computable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			if (((Var *) node)->varlevelsup != 0 ||
				((Var *) node)->varno == ((DeparseContext *) context)->varno)
				return true;
			break;
		case T_Param:
			if (((Param *) node)->paramkind != PARAM_EXTERN &&
				((Param *) node)->paramkind != PARAM_EXEC)
				return true;
			break;
		case T_SubLink:
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_PlaceHolderVar:
		case T_Aggref:
		case T_GroupingFunc:
		case T_WindowFunc:
		case T_CaseTestExpr:
		case T_CoerceToDomainValue:
		case T_SetToDefault:
		case T_CurrentOfExpr:
		case T_NextValueExpr:
			return true;
		default:
			break;
	}
	return expression_tree_walker(node, is_not_computable_walker, context);
}

static bool
operator_is_text(Oid opno, DeparseContext *context)
{
	if (!object_is_everywhere(OperatorRelationId, opno))
		return refuse(context,
					  psprintf("operator %s is neither built in nor of vecdist",
							   get_opname(opno)));
	return function_is_text(get_opcode(opno), context);
}

static bool
function_is_text(Oid funcid, DeparseContext *context)
{
	if (!object_is_everywhere(ProcedureRelationId, funcid))
		return refuse(context,
					  psprintf("function %s is neither built in nor of vecdist",
							   get_func_name(funcid)));
	if (func_volatile(funcid) != PROVOLATILE_IMMUTABLE)
		return refuse(context, psprintf("function %s is not immutable",
										get_func_name(funcid)));
	/* Declared immutable, but its first argument is a local OID. */
	if (funcid == F_SATISFIES_HASH_PARTITION)
		return refuse(context, "reference to a local object");
	return true;
}

/*
 * Built-in types and ours, the types of the relation's columns, and arrays of
 * all these.
 */
static bool
type_is_everywhere(Oid typid, DeparseContext *context)
{
	Oid			elemtype = get_element_type(typid);

	if (OidIsValid(elemtype))
		return type_is_everywhere(elemtype, context);
	if (get_typtype(typid) != TYPTYPE_PSEUDO &&
		(object_is_everywhere(TypeRelationId, typid) ||
		 column_has_type(context->relid, typid)))
		return true;
	return refuse(context, psprintf("type %s is neither built in nor of vecdist",
									format_type_be(typid)));
}

/*
 * Is 'typid' the type of a column, the type below its domain, or the type of
 * its elements?  The caller holds a lock on the relation.
 */
static bool
column_has_type(Oid relid, Oid typid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	bool		found = false;

	for (int i = 0; i < desc->natts && !found; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		Oid			base;

		if (attr->attisdropped)
			continue;
		base = getBaseType(attr->atttypid);
		found = attr->atttypid == typid || base == typid ||
			get_element_type(base) == typid;
	}
	table_close(rel, NoLock);
	return found;
}

/* Is 'collation' that of a column?  The caller holds a lock. */
static bool
column_has_collation(Oid relid, Oid collation)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	bool		found = false;

	for (int i = 0; i < desc->natts && !found; i++)
		found = !TupleDescAttr(desc, i)->attisdropped &&
			TupleDescAttr(desc, i)->attcollation == collation;
	table_close(rel, NoLock);
	return found;
}

/*
 * Is this object part of every server of the cluster: built in, or a member
 * of our extension?
 */
static bool
object_is_everywhere(Oid classid, Oid objid)
{
	OwnObject	key = {.classid = classid,.objid = objid};
	Oid			extension;

	if (objid < FirstGenbkiObjectId)
		return true;

	if (own_objects == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(OwnObject),
		.entrysize = sizeof(OwnObject)};

		own_objects = hash_create("vecdist extension members", 64, &ctl,
								  HASH_ELEM | HASH_BLOBS);
	}
	if (hash_search(own_objects, &key, HASH_FIND, NULL) != NULL)
		return true;

	extension = getExtensionOfObject(classid, objid);
	if (!OidIsValid(extension) ||
		extension != get_extension_oid("vecdist", true))
		return false;
	(void) hash_search(own_objects, &key, HASH_ENTER, NULL);
	return true;
}

/* Is a value of this type the OID of an object? */
static bool
is_reg_type(Oid typid)
{
	switch (typid)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCOLLATIONOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
			return true;
		default:
			return false;
	}
}

/*
 * Does this kind of expression decide whether its parts are evaluated, or
 * (ArrayCoerceExpr) evaluate a part once for each element?
 */
static bool
enters_condition(Node *node)
{
	return IsA(node, BoolExpr) || IsA(node, CaseExpr) ||
		IsA(node, CoalesceExpr) || IsA(node, ArrayCoerceExpr);
}

/*
 * Copy a shippable tree, with numbered Params in place of what goes as a
 * value, and with the relation as number 1 of the range table.
 */
static Node *
replace_values_mutator(Node *node, void *arg)
{
	DeparseContext *context = (DeparseContext *) arg;
	bool		save_conditional = context->conditional;
	Node	   *result;

	if (node == NULL)
		return NULL;

	/* Lists and WHENs are part of an expression that was found to be text. */
	if (!IsA(node, List) && !IsA(node, CaseWhen) &&
		(is_value(node, context) || !is_text(node, context) ||
		 is_extension_constant(node)))
		return make_param(node, context);
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		return (Node *) makeVar(1, var->varattno, var->vartype,
								var->vartypmod, var->varcollid, 0);
	}

	context->conditional |= enters_condition(node);
	result = expression_tree_mutator(node, replace_values_mutator, context);
	context->conditional = save_conditional;
	return result;
}

/*
 * Is this a constant that had better travel as a value, in binary?  The text
 * of a vector is several times its size, and makes every query another one.
 */
static bool
is_extension_constant(Node *node)
{
	Const	   *con = (Const *) node;

	return IsA(node, Const) && !con->constisnull && con->constlen == -1 &&
		con->consttype >= FirstNormalObjectId;
}

/* The Param that stands for 'value', which is added to the list if new. */
static Node *
make_param(Node *value, DeparseContext *context)
{
	Param	   *param = makeNode(Param);
	RelabelType *cast;
	ListCell   *lc;
	int			number = context->first_param;

	Assert(is_shippable(value, context));
	foreach(lc, context->params)
	{
		if (equal(lfirst(lc), value))
			break;
		number++;
	}
	if (lc == NULL)
		context->params = lappend(context->params, copyObject(value));

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = exprType(value);
	param->paramtypmod = -1;
	param->paramcollid = exprCollation(value);
	param->location = -1;
	if (!context->with_casts)
		return (Node *) param;

	/* Without a modifier: a cast to varchar(n) would cut the value. */
	cast = makeRelabelType((Expr *) param, param->paramtype, -1,
						   param->paramcollid, COERCE_EXPLICIT_CAST);
	return (Node *) cast;
}

/* Keep the first reason; always false. */
static bool
refuse(DeparseContext *context, const char *why)
{
	if (context->why == NULL)
		context->why = why;
	return false;
}

void
DistAppendRemoteName(StringInfo buf, const DistPartition *partition)
{
	appendStringInfo(buf, "%s.%s", quote_identifier(partition->remote_schema),
					 quote_identifier(partition->remote_name));
}

void
DistAppendWhere(StringInfo buf, List *quals, Index varno, Oid relid,
				List **params)
{
	const char *separator = " WHERE ";
	ListCell   *lc;

	foreach(lc, quals)
	{
		appendStringInfo(buf, "%s%s", separator,
						 DistDeparseExpr(lfirst(lc), varno, relid, DIST_ALIAS,
										 params, 1, true));
		separator = " AND ";
	}
}
