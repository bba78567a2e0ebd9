/*-------------------------------------------------------------------------
 *
 * dist_local_setting.h
 *	  Change settings for a while, at little cost.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_LOCAL_SETTING_H
#define DIST_LOCAL_SETTING_H

#include "postgres.h"

/*
 * DistSetLocally
 *		Take over a setting, given as "name=value", up to the AtEOXact_GUC of the
 *		current nest level.
 *
 * It is set as any role may.  One that has the value is left alone.
 */
extern void DistSetLocally(const char *setting);

/*
 * DistShowSetting
 *		The value that the setting in "name=value" has now, as SHOW has it.
 *
 * Valid until a setting is changed.  *name_len is the length of the name.
 */
extern const char *DistShowSetting(const char *setting, int *name_len);

#endif							/* DIST_LOCAL_SETTING_H */
