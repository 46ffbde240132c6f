package postgres

// RunsOn is the rule by which Open judges a schema; there are not yet enough of
// them to try it on.
var RunsOn = runsOn

// CheckURL is what Open does with a URL before it connects.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// ExecMode is how the store sends its statements.
func (s *Store) ExecMode() string { return s.pool.Config().ConnConfig.DefaultQueryExecMode.String() }
