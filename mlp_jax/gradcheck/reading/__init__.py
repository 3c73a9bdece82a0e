"""How somebody's files are loaded, and their classes and functions are called.

`loading` imports a file or notebook as Python would (`definitions`, `python2`, `standins`), and `running` runs it
quietly. `names` and `signatures` tell what an argument is, and `refusals` what is no gradient. What holds the
parameters, reads them and gives gradients by leaf is a `Layout` (`layouts`), or `Places` that were found (`holders`,
by `paths`; `trees` learns them from a function). A function is asked by a convention (`conventions`, `calling`;
`pairs` for a forward and a backward one), an object of a class by what it has (`building`, `settings`, `arguments`,
`asking`, `masks`, `classes`). All give `answers`.
"""
