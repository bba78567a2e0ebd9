/*-------------------------------------------------------------------------
 *
 * distance_cost.c
 *	  What the planner must know about the cost of a distance.
 *
 * By default it takes a function for as cheap as the sum of two integers.  A
 * vector that is stored out of line costs a hundred times as much to fetch; a
 * plan that reads every row for its distance would look cheap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "types/sparsevec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector_distance_support);
VECDIST_FUNCTION_INFO_V1(halfvec_distance_support);
VECDIST_FUNCTION_INFO_V1(sparsevec_distance_support);

/* In units of cpu_operator_cost, of which a microsecond has a hundred */
#define CALL 4
#define DIMENSION 0.04
#define SPARSE_ELEMENT 0.4
#define OUT_OF_LINE 300

/* Longer values are stored out of line, if their column allows. */
#define INLINE_BYTES 2000

/* Elements of a sparse vector of which nothing is known */
#define DEFAULT_ELEMENTS 100

/* What ANALYZE takes for the width of a value that is stored out of line */
#define OUT_OF_LINE_BYTES 18

typedef double (*ArgumentCost) (PlannerInfo *root, Node *argument);

static Node *support(Node *request, ArgumentCost argument_cost);
static double vector_cost(PlannerInfo *root, Node *argument);
static double halfvec_cost(PlannerInfo *root, Node *argument);
static double sparsevec_cost(PlannerInfo *root, Node *argument);
static double dense_cost(Node *argument, int bytes_per_dimension);
static double elements_in(int bytes);
static int	average_width(PlannerInfo *root, Node *argument);

/* Planner support function of the distances between vectors. */
Datum
vector_distance_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support((Node *) PG_GETARG_POINTER(0), vector_cost));
}

/* The same for halfvec. */
Datum
halfvec_distance_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support((Node *) PG_GETARG_POINTER(0), halfvec_cost));
}

/* The same for sparsevec. */
Datum
sparsevec_distance_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support((Node *) PG_GETARG_POINTER(0), sparsevec_cost));
}

/* Answers requests for the cost; NULL means no answer. */
static Node *
support(Node *request, ArgumentCost argument_cost)
{
	SupportRequestCost *cost = (SupportRequestCost *) request;
	List	   *arguments = NIL;
	double		operations = CALL;
	ListCell   *cell;

	if (!IsA(request, SupportRequestCost))
		return NULL;
	if (cost->node && IsA(cost->node, OpExpr))
		arguments = castNode(OpExpr, cost->node)->args;
	else if (cost->node && IsA(cost->node, FuncExpr))
		arguments = castNode(FuncExpr, cost->node)->args;

	foreach(cell, arguments)
		operations += argument_cost(cost->root, lfirst(cell));
	cost->startup = 0;
	cost->per_tuple = operations * cpu_operator_cost;
	return request;
}

static double
vector_cost(PlannerInfo *root, Node *argument)
{
	return dense_cost(argument, sizeof(float));
}

static double
halfvec_cost(PlannerInfo *root, Node *argument)
{
	return dense_cost(argument, sizeof(int16));
}

/* Cost of an argument whose length is known and that is not constant. */
static double
dense_cost(Node *argument, int bytes_per_dimension)
{
	int32		dims = exprTypmod(argument);

	if (dims <= 0 || IsA(argument, Const) || IsA(argument, Param))
		return 0;
	return dims * DIMENSION +
		(IsA(argument, Var) && dims * bytes_per_dimension > INLINE_BYTES ?
		 OUT_OF_LINE : 0);
}

/*
 * Both sides cost what they store, which their dimensions do not tell.  A
 * column's statistics do, of values that are stored inline; of others only
 * that they are long.
 */
static double
sparsevec_cost(PlannerInfo *root, Node *argument)
{
	int			width;

	if (IsA(argument, Const))
	{
		Const	   *constant = (Const *) argument;

		if (constant->constisnull)
			return 0;
		return DatumGetSparsevec(constant->constvalue)->nnz * SPARSE_ELEMENT;
	}

	width = average_width(root, argument);
	if (width <= 0)
		return DEFAULT_ELEMENTS * SPARSE_ELEMENT;
	if (width <= OUT_OF_LINE_BYTES)
		return OUT_OF_LINE +
			elements_in(INLINE_BYTES) * SPARSE_ELEMENT;
	return elements_in(width) * SPARSE_ELEMENT;
}

static double
elements_in(int bytes)
{
	return Max(bytes - (double) SPARSEVEC_SIZE(0), 0) / (SPARSEVEC_SIZE(1) - SPARSEVEC_SIZE(0));
}

/* The bytes of a table's column as ANALYZE found them, or 0. */
static int
average_width(PlannerInfo *root, Node *argument)
{
	Var		   *var = (Var *) argument;
	RangeTblEntry *rte;

	if (root == NULL || !IsA(argument, Var) || var->varlevelsup > 0 ||
		IS_SPECIAL_VARNO(var->varno))
		return 0;
	rte = planner_rt_fetch(var->varno, root);
	return rte->rtekind == RTE_RELATION ? get_attavgwidth(rte->relid, var->varattno) : 0;
}
